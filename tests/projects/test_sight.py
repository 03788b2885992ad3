"""Which projects and people a reader sees."""

import pytest

from accounts.grants import Grant, give
from accounts.models import Team
from accounts.roles import Role
from projects.models import Project
from projects.people import known_to
from projects.sight import EVERYTHING, Sight
from tests.factories import ProjectFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db


def test_superuser_sees_everything_without_a_statement(django_assert_num_queries):
    user = UserFactory(is_superuser=True)

    with django_assert_num_queries(0):
        sight = Sight.of(user)

    assert sight is EVERYTHING
    assert "proj_any" in sight
    assert sight.ids is None


def test_member_sees_their_projects_by_one_statement(django_assert_num_queries):
    seen, hidden = ProjectFactory(run_count=3), ProjectFactory(run_count=5)
    user = member_of(seen)

    with django_assert_num_queries(1):
        sight = Sight.of(user)

    assert seen.pk in sight
    assert hidden.pk not in sight
    assert sight.run_count == 3
    assert list(sight.narrow(Project.objects.all(), "pk")) == [seen]


def test_token_for_one_project_limits_also_a_superuser():
    first, second = ProjectFactory(), ProjectFactory()
    user = give(UserFactory(is_superuser=True), Grant(project_id=first.pk))

    sight = Sight.of(user)

    assert first.pk in sight
    assert second.pk not in sight


def test_nobody_else_is_known_to_a_user_of_no_team():
    user = UserFactory()
    member_of(ProjectFactory())

    assert list(known_to(user)) == [user]


def test_people_of_shared_teams_and_projects_are_known():
    user, colleague, guest = UserFactory(), UserFactory(), UserFactory()
    team = Team.create("Sums", by=colleague)
    team.memberships.create(user=user, role=Role.VIEWER)
    ProjectFactory(team=team).roles.create(user=guest, role=Role.VIEWER)
    member_of(ProjectFactory())

    assert set(known_to(user)) == {user, colleague, guest}
    assert set(known_to(guest)) == {user, colleague, guest}
