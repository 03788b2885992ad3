"""Tokens in the admin: created and shown once, revoked, never shown again."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from accounts.models import Team, Token
from accounts.roles import Role
from tests.admin import add_page_of, list_of, page_of, rows_in, signed_in, staff, superuser
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

FORM = {"name": "", "scope": "admin", "expires_at_0": "", "expires_at_1": ""}


def token_in(client: Client) -> str:
    page = client.get(list_of(Token)).content.decode()
    match = re.search(r"shown only once\): (th_[0-9a-f]+)", page)
    assert match is not None
    return match[1]


def test_token_is_shown_once_and_works(settings: Settings):
    settings.OPEN_MODE = False
    client, user = signed_in(superuser()), UserFactory()

    client.post(add_page_of(Token), {"user": str(user.pk), **FORM})

    token = token_in(client)
    assert token not in client.get(list_of(Token)).content.decode()
    headers = {"Authorization": f"Bearer {token}"}
    assert Client().get("/projects", headers=headers).status_code == 200
    assert Token.objects.get().user == user


def test_only_superusers_create_tokens_for_other_users():
    user = staff("add_token", "view_token")
    other: User = superuser()

    signed_in(user).post(add_page_of(Token), {"user": str(other.pk), **FORM})

    assert Token.objects.get().user == user


def test_only_superusers_see_tokens_of_other_users():
    user = staff("view_token")
    own, _ = Token.issue(user)
    Token.issue(UserFactory())

    assert rows_in(signed_in(user), Token) == [own]
    assert len(rows_in(signed_in(superuser()), Token)) == 2


def test_deleting_a_token_revokes_it():
    client = signed_in(superuser())
    stored, _ = Token.issue(UserFactory())

    client.post(f"{list_of(Token)}{stored.pk}/delete/", {"post": "yes"})

    assert not Token.objects.exists()


def test_token_cannot_be_edited():
    client = signed_in(superuser())
    stored, _ = Token.issue(UserFactory())

    response = client.post(f"{list_of(Token)}{stored.pk}/change/", {"user": "1"})

    assert response.status_code == 403
    assert client.get(f"{list_of(Token)}{stored.pk}/change/").status_code == 200


# --- members of teams ------------------------------------------------------------------------


def members_form(team: Team, *rows: dict[str, str], existing: int) -> dict[str, str]:
    form = {
        "name": team.name,
        "memberships-TOTAL_FORMS": str(len(rows)),
        "memberships-INITIAL_FORMS": str(existing),
    }
    for number, row in enumerate(rows):
        row = {"team": team.pk, "role": "20", **row}
        form |= {f"memberships-{number}-{name}": value for name, value in row.items()}
    return form


OF_TEAMS = ("change_team", "add_teammembership", "change_teammembership", "view_team")


@pytest.mark.parametrize("is_superuser", [False, True])
def test_new_projects_of_whom_a_superuser_adds_belong_to_the_team(is_superuser: bool):
    team, added = Team.objects.create(name="NLP"), UserFactory()
    client = signed_in(superuser() if is_superuser else staff(*OF_TEAMS))

    row = {"user": str(added.pk), "takes_new_projects": "on"}
    client.post(page_of(team), members_form(team, row, existing=0))

    assert team.memberships.get(user=added).takes_new_projects is is_superuser


def test_new_projects_of_whoever_takes_the_place_of_a_member_stay_theirs():
    team, other = Team.objects.create(name="NLP"), UserFactory()
    membership = team.add(UserFactory(), Role.MEMBER, by=None)

    row = {"id": str(membership.pk), "user": str(other.pk)}
    signed_in(staff(*OF_TEAMS)).post(page_of(team), members_form(team, row, existing=1))

    assert not team.memberships.get(user=other).takes_new_projects


def test_change_of_a_role_leaves_whose_new_projects_the_team_takes():
    team, member = Team.objects.create(name="NLP"), UserFactory()
    membership = team.add(member, Role.MEMBER, by=UserFactory())
    client = signed_in(superuser())

    row = {"id": str(membership.pk), "user": str(member.pk), "role": "30"}
    client.post(page_of(team), members_form(team, row, existing=1))

    membership.refresh_from_db()
    assert (membership.role, membership.takes_new_projects) == (Role.MAINTAINER, False)
    assert "Takes new projects" in client.get(page_of(team)).content.decode()
