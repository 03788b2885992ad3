"""Tokens in the admin: created and shown once, revoked, never shown again."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from accounts.models import Token
from tests.admin import add_page_of, list_of, rows_in, signed_in, staff, superuser
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
