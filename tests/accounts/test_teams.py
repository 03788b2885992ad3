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


# --- whose new projects belong to it ---------------------------------------------------------


def is_taking(team, user) -> bool:
    return team.memberships.get(user=user).takes_new_projects


def change(client, team, user, is_taking: bool):
    url = f"/teams/{team.pk}/members/{user.username}"
    return client.patch(url, {"takes_new_projects": is_taking})


def test_team_takes_new_projects_of_whoever_creates_it(owner, team):
    assert is_taking(team, owner)


@pytest.mark.parametrize("is_superuser", [False, True])
def test_team_takes_new_projects_of_those_whom_superusers_add(owner, team, is_superuser):
    adder, other = UserFactory(is_superuser=True) if is_superuser else owner, UserFactory()
    url = f"/teams/{team.pk}/members/{other.username}"

    answer = calling(adder).put(url, {"role": "member"})

    assert answer.json()["takes_new_projects"] is is_superuser
    assert is_taking(team, other) is is_superuser
    assert Team.only_one_of(other) == (team if is_superuser else None)


@pytest.mark.parametrize("was_taking", [False, True])
@pytest.mark.parametrize("is_superuser", [False, True])
def test_change_of_a_role_leaves_consent_as_it_is(owner, team, was_taking, is_superuser):
    changer, other = UserFactory(is_superuser=True) if is_superuser else owner, UserFactory()
    team.add(other, Role.MEMBER, by=owner)
    team.take_new_projects(other, was_taking)

    calling(changer).put(f"/teams/{team.pk}/members/{other.username}", {"role": "owner"})

    assert members(team)[other.username] == Role.OWNER
    assert is_taking(team, other) is was_taking


def test_member_lets_new_projects_belong_to_the_team_and_no_longer(owner, team):
    member = UserFactory()
    team.add(member, Role.MEMBER, by=owner)
    client = calling(member)

    answer = change(client, team, member, True)
    taken = Team.only_one_of(member)
    change(client, team, member, False)

    assert (answer.status_code, answer.json()["takes_new_projects"]) == (200, True)
    assert (taken, Team.only_one_of(member)) == (team, None)


@pytest.mark.parametrize("is_superuser", [False, True])
def test_nobody_else_decides_it_for_a_member(owner, team, is_superuser):
    other, member = UserFactory(is_superuser=True) if is_superuser else owner, UserFactory()
    team.add(member, Role.MEMBER, by=owner)

    answer = change(calling(other), team, member, True)

    assert answer.status_code == 403
    assert not is_taking(team, member)


def test_consent_is_not_sent_with_a_role(owner, team):
    member = UserFactory()
    url = f"/teams/{team.pk}/members/{member.username}"

    answer = calling(owner).put(url, {"role": "member", "takes_new_projects": True})

    assert answer.status_code == 400
    assert member.username not in members(team)


def test_consent_ends_with_the_membership(owner, team):
    member = UserFactory()
    team.add(member, Role.MEMBER, by=owner)
    team.take_new_projects(member, True)
    team.remove(member)

    team.add(member, Role.MEMBER, by=owner)

    assert not is_taking(team, member)


@pytest.mark.parametrize("is_superuser", [False, True])
def test_whoever_is_no_member_consents_to_nothing(team, is_superuser):
    stranger = UserFactory(is_superuser=is_superuser)

    assert change(calling(stranger), team, stranger, True).status_code == 404


def test_token_that_may_not_do_everything_consents_to_nothing(owner, team):
    member = UserFactory()
    team.add(member, Role.MEMBER, by=owner)

    assert change(calling(member, scope=Scope.WRITE), team, member, True).status_code == 403
    assert not is_taking(team, member)


@pytest.mark.parametrize("body", [{}, {"takes_new_projects": "yes"}, {"takes_new_projects": None}])
def test_consent_is_true_or_false(owner, team, body):
    answer = calling(owner).patch(f"/teams/{team.pk}/members/{owner.username}", body)

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "takes_new_projects")


def test_viewer_who_consents_gives_projects_once_they_are_a_member(owner, team):
    viewer = UserFactory()
    team.add(viewer, Role.VIEWER, by=owner)
    team.take_new_projects(viewer, True)
    before = Team.only_one_of(viewer)

    team.add(viewer, Role.MEMBER, by=owner)

    assert (before, Team.only_one_of(viewer)) == (None, team)


def test_team_takes_what_its_service_accounts_create(owner, team):
    account = ServiceAccount.create("ci", team=team, by=owner)

    assert Team.only_one_of(account.user) == team
