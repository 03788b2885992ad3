"""Teams and their members by REST."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from accounts.models import ServiceAccount, Team, Token
from accounts.models.team import TeamGone
from accounts.roles import Role, Scope
from tests.factories import ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


def calling(user, **limits) -> APIClient:
    client = APIClient(headers={"Authorization": f"Bearer {Token.issue(user, **limits)[1]}"})
    client.default_format = "json"
    return client


@pytest.fixture
def owner():
    return UserFactory()


@pytest.fixture
def team(owner):
    return Team.create("NLP", by=owner)


def members(team) -> dict[str, Role]:
    return dict(team.memberships.values_list("user__username", "role"))


def test_whoever_creates_a_team_owns_it(owner):
    answer = calling(owner).post("/teams", {"name": "NLP"})

    assert answer.status_code == 201
    assert answer.json()["members"][0]["role"] == "owner"
    assert Team.objects.visible_to(owner, role=Role.OWNER).get().name == "NLP"


def test_name_of_a_team_is_taken_once(owner, team):
    answer = calling(owner).post("/teams", {"name": "NLP"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "team_name_taken")


def test_team_is_listed_for_its_members_alone(owner, team):
    assert [item["id"] for item in calling(owner).get("/teams").json()] == [team.pk]
    assert calling(UserFactory()).get("/teams").json() == []


def test_owner_adds_a_member_and_changes_their_role(owner, team):
    url = f"/teams/{team.pk}/members/{UserFactory(username='li').username}"

    calling(owner).put(url, {"role": "member"})
    calling(owner).put(url, {"role": "maintainer"})

    assert members(team)["li"] == Role.MAINTAINER


def test_member_adds_nobody(owner, team):
    member, other = UserFactory(), UserFactory()
    team.add(member, Role.MAINTAINER, by=None)

    answer = calling(member).put(f"/teams/{team.pk}/members/{other.username}", {"role": "viewer"})

    assert answer.status_code == 403
    assert other.username not in members(team)


def test_member_leaves(team):
    member = UserFactory()
    team.add(member, Role.MEMBER, by=None)

    answer = calling(member).delete(f"/teams/{team.pk}/members/{member.username}")

    assert answer.status_code == 204
    assert member.username not in members(team)


@pytest.mark.parametrize("change", ["remove", "lower"])
def test_team_keeps_an_owner(owner, team, change):
    url = f"/teams/{team.pk}/members/{owner.username}"

    client = calling(owner)
    answer = client.delete(url) if change == "remove" else client.put(url, {"role": "member"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "last_owner")
    assert members(team) == {owner.username: Role.OWNER}


def test_team_with_projects_is_not_deleted(owner, team):
    ProjectFactory(team=team)

    answer = calling(owner).delete(f"/teams/{team.pk}")

    assert answer.status_code == 409
    assert Team.objects.filter(pk=team.pk).exists()


def test_unknown_user_and_unknown_role_are_refused(owner, team):
    client = calling(owner)

    assert client.put(f"/teams/{team.pk}/members/nobody", {"role": "member"}).status_code == 404
    url = f"/teams/{team.pk}/members/{UserFactory().username}"
    assert client.put(url, {"role": "king"}).status_code == 400


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
def test_token_that_may_not_do_everything_lets_nobody_in(owner, team, scope):
    other = UserFactory()

    answer = calling(owner, scope=scope).put(
        f"/teams/{team.pk}/members/{other.username}", {"role": "owner"}
    )

    assert answer.status_code == 403
    assert other.username not in members(team)


def test_deactivated_owner_does_not_count_as_one(owner, team):
    team.add(UserFactory(is_active=False), Role.OWNER, by=None)

    answer = calling(owner).delete(f"/teams/{team.pk}/members/{owner.username}")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "last_owner")


def test_deactivated_member_is_removed(owner, team):
    gone = UserFactory(is_active=False)
    team.add(gone, Role.MEMBER, by=None)

    answer = calling(owner).delete(f"/teams/{team.pk}/members/{gone.username}")

    assert answer.status_code == 204
    assert gone.username not in members(team)


def test_service_accounts_end_with_their_team(owner, team):
    account = ServiceAccount.create("ci", team=team, by=owner)
    client = calling(account.user)
    assert client.get("/projects").status_code == 200

    calling(owner).delete(f"/teams/{team.pk}")

    assert client.get("/projects").status_code == 401


def test_service_account_is_not_made_for_a_team_that_is_deleted_meanwhile(owner, team):
    Team.objects.get().disband()

    with pytest.raises(TeamGone):
        ServiceAccount.create("ci", team=team, by=owner)

    assert not User.objects.filter(username="ci").exists()


@pytest.mark.parametrize("role", [Role.MEMBER, Role.OWNER])
def test_team_that_is_deleted_meanwhile_takes_nobody_in(team, role):
    Team.objects.get().disband()

    with pytest.raises(TeamGone):
        team.add(UserFactory(), role, by=None)
