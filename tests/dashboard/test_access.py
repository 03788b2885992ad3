"""Pages of teams, of who sees a project, and of tokens."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.models import ServiceAccount, Team, Token
from accounts.roles import Role, Scope
from projects.models import Project
from tests.factories import ProjectFactory, RunFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db

TEAMS, TOKENS = "/dashboard/teams", "/dashboard/tokens"


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"


def browser(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def test_new_team_has_a_page_with_its_owner():
    user = UserFactory(username="li")

    page = browser(user).post(TEAMS, {"name": "NLP"}, follow=True).content.decode()

    assert "<h1>NLP</h1>" in page
    assert "li" in page
    assert "Owner" in page


def test_name_that_is_taken_is_said_beside_the_field():
    user = UserFactory()
    Team.create("NLP", by=user)

    answer = browser(user).post(TEAMS, {"name": "NLP"})

    assert answer.status_code == 422
    assert "There is a team with this name." in answer.content.decode()


def test_owner_adds_and_removes_a_member():
    owner, other = UserFactory(), UserFactory(username="li")
    team = Team.create("NLP", by=owner)
    client = browser(owner)

    client.post(f"{TEAMS}/{team.pk}/members", {"username": "li", "role": "30"})
    added = team.memberships.get(user=other).role
    client.post(f"{TEAMS}/{team.pk}/members/{other.pk}/remove")

    assert added == Role.MAINTAINER
    assert not team.memberships.filter(user=other).exists()


def test_unknown_member_is_said_beside_the_field():
    owner = UserFactory()
    team = Team.create("NLP", by=owner)

    answer = browser(owner).post(f"{TEAMS}/{team.pk}/members", {"username": "x", "role": "20"})

    assert answer.status_code == 422
    assert "There is no user x." in answer.content.decode()


def test_last_owner_stays_and_is_told_why():
    owner = UserFactory()
    team = Team.create("NLP", by=owner)

    page = browser(owner).post(f"{TEAMS}/{team.pk}/members/{owner.pk}/remove", follow=True)

    assert page.redirect_chain == [(f"{TEAMS}/{team.pk}", 302)]
    assert "A team needs an owner" in page.content.decode()
    assert team.memberships.filter(user=owner).exists()


def test_member_has_no_forms():
    member = UserFactory()
    team = Team.create("NLP", by=UserFactory())
    team.add(member, Role.MAINTAINER, by=None)

    page = browser(member).get(f"{TEAMS}/{team.pk}").content.decode()

    assert "Leave the team" in page
    assert 'name="username"' not in page


def test_service_account_is_a_member_nobody_signs_in_with():
    owner = UserFactory()
    team = Team.create("NLP", by=owner)

    browser(owner).post(f"{TEAMS}/{team.pk}/accounts", {"name": "ci", "description": "nightly"})

    account = ServiceAccount.objects.get()
    assert not account.user.has_usable_password()
    assert team.memberships.get(user=account.user).role == Role.MEMBER


def test_token_is_shown_once_and_works():
    client = browser(UserFactory())

    page = client.post(TOKENS, {"name": "laptop", "scope": "write", "days": "30"}).content.decode()
    secret = re.search(r"th_[0-9a-f]{64}", page)

    assert secret is not None
    assert secret[0] not in client.get(TOKENS).content.decode()
    headers = {"Authorization": f"Bearer {secret[0]}"}
    assert Client(headers=headers).get("/projects").status_code == 200


def test_page_with_a_new_token_is_not_cached():
    answer = browser(UserFactory()).post(TOKENS, {"name": "laptop", "scope": "write"})

    assert "no-store" in answer.headers["Cache-Control"]


def test_revoked_token_is_refused():
    user = UserFactory()
    token, secret = Token.issue(user)

    browser(user).post(f"{TOKENS}/{token.pk}/revoke")

    headers = {"Authorization": f"Bearer {secret}"}
    assert Client(headers=headers).get("/projects").status_code == 401


def test_token_of_somebody_else_is_not_there():
    token, _secret = Token.issue(UserFactory())

    assert browser(UserFactory()).post(f"{TOKENS}/{token.pk}/revoke").status_code == 404
    assert Token.objects.filter(pk=token.pk).exists()


def test_owner_gives_roles_in_a_project():
    project, other = ProjectFactory(), UserFactory(username="li")
    client = browser(member_of(project, Role.OWNER))

    client.post(
        f"/dashboard/projects/{project.pk}/access/members", {"username": "li", "role": "10"}
    )

    assert project.roles.get(user=other).role == Role.VIEWER


def test_project_stays_in_a_team_that_its_owner_is_not_in():
    team = Team.create("NLP", by=UserFactory())
    project = ProjectFactory(team=team)
    client = browser(member_of(project, Role.OWNER))

    page = client.get(f"/dashboard/projects/{project.pk}/access").content.decode()
    client.post(f"/dashboard/projects/{project.pk}/access/team", {"team": team.pk})

    project.refresh_from_db()
    assert f'<option value="{team.pk}" selected>' in page
    assert project.team == team


def test_form_of_a_new_project_says_who_will_see_it():
    user = UserFactory()
    client = browser(user)

    alone = client.get("/dashboard/projects/new").content.decode()
    Team.create("NLP", by=UserFactory()).add(user, Role.MEMBER, by=None)
    in_team = client.get("/dashboard/projects/new").content.decode()

    assert "Only you and superusers will see it" in alone
    assert "It will belong to the team NLP" in in_team


def test_form_of_a_new_project_gives_it_to_no_team_without_consent():
    attacker, victim = UserFactory(), UserFactory(username="li")
    team = Team.create("trap", by=attacker)
    browser(attacker).post(f"{TEAMS}/{team.pk}/members", {"username": "li", "role": "20"})
    client = browser(victim)

    page = client.get("/dashboard/projects/new").content.decode()
    client.post("/dashboard/projects/new", {"name": "secret"})

    assert "Only you and superusers will see it" in page
    assert Project.objects.get().team is None


def test_member_says_that_their_new_projects_belong_to_the_team():
    owner, member = UserFactory(), UserFactory()
    team = Team.create("NLP", by=owner)
    team.add(member, Role.MEMBER, by=owner)
    client, url = browser(member), f"{TEAMS}/{team.pk}"
    assert "checked" not in client.get(url).content.decode()

    page = client.post(f"{url}/new-projects", {"takes_new_projects": "on"}, follow=True)
    in_team = client.get("/dashboard/projects/new").content.decode()
    client.post(f"{url}/new-projects")
    alone = client.get("/dashboard/projects/new").content.decode()

    assert "checked" in page.content.decode()
    assert "It will belong to the team NLP" in in_team
    assert "Only you and superusers will see it" in alone


@pytest.mark.parametrize("is_superuser", [False, True])
def test_whoever_is_no_member_decides_nothing_about_their_new_projects(is_superuser):
    team = Team.create("NLP", by=UserFactory())
    client = browser(UserFactory(is_superuser=is_superuser))

    answer = client.post(f"{TEAMS}/{team.pk}/new-projects", {"takes_new_projects": "on"})

    assert answer.status_code == 404
    if is_superuser:
        assert "Your new projects" not in client.get(f"{TEAMS}/{team.pk}").content.decode()


@pytest.mark.parametrize(
    ("role", "offers"),
    [(Role.VIEWER, False), (Role.MEMBER, True)],
)
def test_pages_of_a_run_offer_what_the_role_allows(role, offers):
    run = RunFactory()
    client = browser(member_of(run.project, role))

    page = client.get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}").content.decode()

    assert ("Cancel run" in page) is offers
    assert ("New run" in client.get(f"/dashboard/projects/{run.project_id}").content.decode()) is (
        offers
    )


def test_scopes_are_offered_by_name():
    page = browser(UserFactory()).get(TOKENS).content.decode()

    assert all(str(scope.label) in page for scope in Scope)
