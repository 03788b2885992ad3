"""What is set for every session of the database."""

import pytest
from django.conf import settings
from django.core.management.sql import emit_pre_migrate_signal
from django.db import connection

from core import sessions

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def session(monkeypatch):
    """The settings of a new connection."""
    monkeypatch.setattr(sessions, "_request_limits", {})
    connection.close()

    def session(*names):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, setting::int FROM pg_settings WHERE name = ANY(%s)", [list(names)]
            )
            return dict(cursor.fetchall())

    yield session
    connection.close()


def test_nothing_waits_for_a_lock_longer_than_five_seconds(session):
    assert session("lock_timeout") == {"lock_timeout": 5000}


def test_transaction_of_a_frozen_process_ends_before_its_lease(session, monkeypatch):
    name = "idle_in_transaction_session_timeout"
    monkeypatch.setitem(settings.SESSION_LIMITS, name, "1234")  # tests have none

    assert session(name) == {name: 1234}
    assert settings.IDLE_TRANSACTION_SECONDS < settings.LOCK_SECONDS
    assert settings.IDLE_TRANSACTION_SECONDS < settings.WORKER_LEASE_SECONDS


def test_statements_of_requests_are_limited_and_others_are_not(session):
    assert session("statement_timeout") == {"statement_timeout": 0}

    connection.close()
    sessions.limit_requests()

    assert session("statement_timeout") == {"statement_timeout": 30_000}


def test_hosts_that_are_gone_are_noticed_by_both_sides():
    options = settings.DATABASES["default"]["OPTIONS"]

    assert {"keepalives_idle", "keepalives_interval", "keepalives_count"} <= options.keys()
    assert {f"tcp_{name}" for name in options if name.startswith("keepalives")} <= (
        sessions.SESSION.keys()
    )


def test_migrations_may_take_their_time(session, monkeypatch):
    names = ("idle_in_transaction_session_timeout", "lock_timeout")
    monkeypatch.setitem(settings.SESSION_LIMITS, names[0], "1234")
    assert session(*names) == {names[0]: 1234, names[1]: 5000}

    emit_pre_migrate_signal(verbosity=0, interactive=False, db="default")

    assert session(*names) == dict.fromkeys(names, 0)
