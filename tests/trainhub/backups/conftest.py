"""Fixtures of backups: a place for them, and another, empty TrainHub to restore them into."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from artifacts.storage import artifact_storage
from tests.artifacts.conftest import s3, s3_server  # noqa: F401
from tests.workers import database_url


def all_rows() -> dict[str, list[str]]:
    """Each row of each table, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = {}
        for (table,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT it::text FROM {} AS it").format(sql.Identifier(table)))
            rows[table] = sorted(text for (text,) in cursor.fetchall())
    return rows


def stored_bytes(folder: str = "") -> dict[str, str]:
    """The sha256 of everything in the storage, by key."""
    storage = artifact_storage()
    folders, files = storage.listdir(folder)
    found = {}
    for name in files:
        key = f"{folder}/{name}".lstrip("/")
        with storage.open(key, "rb") as file:
            found[key] = hashlib.sha256(file.read()).hexdigest()
    for name in folders:
        if name != ".incoming":
            found |= stored_bytes(f"{folder}/{name}".lstrip("/"))
    return found


class Elsewhere:
    """Another database on the test's server, and another storage."""

    def __init__(self, name: str, settings, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._settings = settings

    @contextmanager
    def used(self) -> Iterator[None]:
        """In the block, this process's TrainHub is that one."""
        name, storages = connection.settings_dict["NAME"], self._settings.STORAGES
        self._use(self.name, {**storages, "artifacts": self.storage})
        try:
            yield
        finally:
            self._use(name, storages)

    @property
    def storage(self) -> dict:
        return {
            "BACKEND": "artifacts.storage.DurableFileSystemStorage",
            "OPTIONS": {"location": str(self.folder)},
        }

    def _use(self, name: str, storages: dict) -> None:
        connection.close()
        connection.settings_dict["NAME"] = name
        self._settings.STORAGES = storages


@pytest.fixture
def place(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def elsewhere(settings, tmp_path, db):
    name = f"elsewhere_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    database = sql.Identifier(name)
    with psycopg.connect(database_url(), autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        server.execute(sql.SQL("CREATE DATABASE {}").format(database))
        yield Elsewhere(name, settings, tmp_path / "elsewhere")
        connection.close()
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
