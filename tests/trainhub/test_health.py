"""/healthz and /readyz, used by load balancers and `manage.py up`."""

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from trainhub import health

BOTH = pytest.mark.parametrize("path", ["/healthz", "/readyz"])


def refuse(*args: object) -> None:
    raise OperationalError("the database is unreachable")


def test_healthz_answers_without_touching_the_database(client: Client):
    # No django_db mark: a query would fail the test.
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_with_every_migration_is_200(client: Client):
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok", "database": True, "migrations": True}


@pytest.mark.django_db
def test_readyz_with_a_missing_migration_is_503(client: Client):
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE app = 'metrics' AND id ="
            " (SELECT max(id) FROM django_migrations WHERE app = 'metrics')"
        )

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "database": True, "migrations": False}


def test_readyz_without_a_database_is_503(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "has_every_migration", refuse)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "database": False, "migrations": False}


@pytest.mark.django_db
def test_healthz_in_production_needs_no_sign_in(client: Client, settings: Settings):
    settings.OPEN_MODE = False

    assert client.get("/healthz").status_code == 200


@pytest.mark.django_db
def test_readyz_in_production_requires_sign_in(client: Client, settings: Settings):
    settings.OPEN_MODE = False

    assert client.get("/readyz").status_code == 401


@BOTH
@pytest.mark.django_db
def test_health_check_refuses_post(client: Client, path: str):
    assert client.post(path, content_type="application/json").status_code == 405


@BOTH
@pytest.mark.django_db
def test_health_check_is_never_cached(client: Client, path: str):
    assert "no-store" in client.get(path).headers["Cache-Control"]
