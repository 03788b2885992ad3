"""Tokens of releases that kept them with django-rest-knox stay valid."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from accounts.models import Token
from accounts.models.token import BEGINNING_LENGTH, digest_of
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

migration = import_module("accounts.migrations.0003_earlier_tokens")

SECRET = "th_" + "0123456789abcdef" * 4


def store_earlier_token(user) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE knox_authtoken (digest text PRIMARY KEY, token_key text, user_id int,"
            " created timestamptz, expiry timestamptz)"
        )
        cursor.execute(
            "INSERT INTO knox_authtoken VALUES (%s, %s, %s, '2024-01-02', NULL)",
            [digest_of(SECRET), SECRET[:BEGINNING_LENGTH], user.pk],
        )


def test_earlier_token_signs_its_user_in(settings):
    settings.OPEN_MODE = False
    user = UserFactory()
    store_earlier_token(user)

    migration.take_over(apps, connection)

    headers = {"Authorization": f"Bearer {SECRET}"}
    assert Client(headers=headers).get("/projects").status_code == 200
    assert (Token.objects.get().user, Token.objects.get().scope) == (user, "admin")
    assert "knox_authtoken" not in connection.introspection.table_names()


def test_new_database_has_none():
    migration.take_over(apps, connection)

    assert not Token.objects.exists()
