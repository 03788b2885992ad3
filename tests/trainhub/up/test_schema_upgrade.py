"""Upgrading a database created before 0.1.0 keeps its rows and yields the current schema."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import sql

from tests.workers import database_url

# One process: an upgrade takes longer than most of the tests.
pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db,
    pytest.mark.xdist_group("schema-upgrade"),
]

BEFORE = Path(__file__).parent / "data" / "before_0_1_0.sql"

KEPT = "SELECT id FROM auth_permission WHERE codename NOT LIKE '%replayedpoint'"
COLUMNS = """
SELECT table_name, column_name, udt_name, is_nullable, column_default, collation_name,
    character_maximum_length, is_identity
FROM information_schema.columns WHERE table_schema = 'public'
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
STORAGE = """
SELECT relname, reloptions::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
UNION ALL
SELECT attrelid::regclass::text, concat(attname, ' ', attstorage) FROM pg_attribute
JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
"""


def schema(cursor) -> set[tuple]:
    """The schema, without index names and PostgreSQL's internal ids."""
    definitions: set[tuple] = set()
    for query in (COLUMNS, CONSTRAINTS, INDEXES, STORAGE):
        cursor.execute(query)
        for row in cursor.fetchall():
            definitions.add(tuple(_normal(str(value)) for value in row))
    return definitions


def _normal(definition: str) -> str:
    """Remove index names, and casts that pg_dump writes differently."""
    return re.sub(r"INDEX \S+ ON|::(character varying|text)(\[\])?|[()]", "", definition)


class OldDatabase:
    def __init__(self, name: str) -> None:
        self.name = name
        self.url = re.sub(r"/[^/?]+(?=\?|$)", f"/{name}", database_url())

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": self.url},
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.url) as old:
            return old.execute(query).fetchall()


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker):
    """A second connection: CREATE DATABASE does not work in a transaction."""
    with django_db_blocker.unblock(), psycopg.connect(database_url(), autocommit=True) as server:
        yield server


@pytest.fixture
def old(server):
    with _database(server, "before") as old:
        yield old


@pytest.fixture(scope="module")
def upgraded(server):
    """An old database that has been upgraded, with the rows of ``KEPT`` from before."""
    with _database(server, "upgraded") as old:
        before = old.rows(KEPT)
        assert old.manage("upgrade_schema").returncode == 0
        assert old.manage("migrate", "--no-input").returncode == 0
        yield old, before


@contextmanager
def _database(server: psycopg.Connection, name: str) -> Iterator[OldDatabase]:
    name = f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    database = sql.Identifier(name)
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
    server.execute(sql.SQL("CREATE DATABASE {}").format(database))
    old = OldDatabase(name)
    with psycopg.connect(old.url) as loading:
        loading.execute(BEFORE.read_text())
    yield old
    server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def test_upgraded_database_has_the_schema_of_the_migrations(upgraded):
    database, _before = upgraded

    with connection.cursor() as cursor, psycopg.connect(database.url) as opened:
        actual, expected = schema(opened.cursor()), schema(cursor)
    assert actual ^ expected == set()


def test_upgrade_keeps_every_row_and_runs_continue(upgraded):
    database, _before = upgraded

    advanced = database.manage("advance_runs", "--steps", "30")

    assert advanced.returncode == 0, advanced.stderr
    assert database.rows("SELECT name, status, step FROM runs_run ORDER BY name") == [
        ("finished", "已完成", 20),
        ("queued", "已完成", 20),
        ("resumed", "已取消", 20),
        ("unmanaged", "运行中", 2),
    ]
    assert database.rows("SELECT count(*) FROM metrics_metricpoint")[0][0] > 65
    assert database.rows("SELECT stage FROM registry_modelversion") == [("Production",)]
    assert database.rows("SELECT value FROM artifacts_artifacttag") == [("发布",)]
    assert database.rows("SELECT key FROM artifacts_unreferencedblob") == [("a/b/c",)]


def test_content_types_and_permissions_are_renamed_not_duplicated(upgraded):
    database, before = upgraded

    assert set(database.rows(KEPT)) >= set(before)
    twice = "SELECT codename FROM auth_permission GROUP BY codename HAVING count(*) > 1"
    assert database.rows(twice) == []
    assert database.rows("SELECT 1 FROM django_content_type WHERE model = 'loosebytes'") == []
    added = "SELECT name FROM auth_permission WHERE codename = 'add_unreferencedblob'"
    assert database.rows(added) == [("Can add unreferenced blob",)]


def test_upgrade_is_idempotent(upgraded):
    database, _before = upgraded

    again = database.manage("upgrade_schema")

    assert (again.returncode, again.stdout) == (0, "Nothing to upgrade.\n")


def test_migrate_refuses_a_database_that_was_not_upgraded(old):
    refused = old.manage("migrate", "--no-input")

    assert refused.returncode != 0
    assert "manage.py upgrade_schema" in refused.stderr
    assert old.rows("SELECT to_regclass('metrics_metricseries')") == [(None,)]


def test_one_of_two_upgrades_at_once_does_it(old):
    upgrades = [old.start("upgrade_schema") for _ in range(2)]
    outputs = [upgrade.communicate()[0] for upgrade in upgrades]

    assert [upgrade.returncode for upgrade in upgrades] == [0, 0], outputs
    assert old.manage("migrate").returncode == 0  # later migrations
    assert old.manage("migrate", "--check").returncode == 0


def test_upgrade_of_a_database_in_use_changes_nothing(old):
    with psycopg.connect(old.url) as using:
        using.execute("SELECT FROM runs_run")

        refused = old.manage("upgrade_schema")

    assert refused.returncode != 0
    assert "The database is in use" in refused.stderr
    assert old.rows("SELECT to_regclass('metrics_metricseries')") == [(None,)]


def test_older_database_is_refused_and_left_unchanged(old):
    with psycopg.connect(old.url) as older:
        older.execute("DELETE FROM django_migrations WHERE name = '0007_script_tokens'")

    refused = old.manage("upgrade_schema")

    assert refused.returncode != 0
    assert "runs.0007_script_tokens is not applied" in refused.stderr
    assert old.rows("SELECT to_regclass('metrics_metricseries')") == [(None,)]


def test_serve_with_migrate_upgrades_first(old, monkeypatch):
    assert old.manage("shell", "-c", START).returncode == 0

    assert old.manage("migrate", "--check").returncode == 0


def test_servers_that_start_at_once_migrate_one_after_the_other(old):
    servers = [old.start("shell", "-c", START) for _ in range(3)]

    outputs = [server.communicate()[0] for server in servers]
    assert [server.returncode for server in servers] == [0, 0, 0], outputs
    assert old.manage("migrate", "--check").returncode == 0


START = """
from trainhub.up import web_server
web_server.serve = lambda: None
from django.core.management import call_command
call_command("serve", "--migrate")
"""
