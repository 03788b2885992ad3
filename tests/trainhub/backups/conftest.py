"""Fixtures of backups: a place for them, and another, empty TrainHub to restore them into."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from psycopg import sql

from artifacts import storing, uploads
from artifacts.storage import artifact_storage
from execution import outputs
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point, Points
from metrics.recording import record_points
from runs.models import RunCode
from tests.artifacts.conftest import s3, s3_server  # noqa: F401
from tests.code_bundles.bundles import bundle
from tests.concurrency import in_parallel
from tests.factories import checkpoint, unmanaged_run
from tests.workers import database_url
from trainhub.backups.making import _Copying
from trainhub.backups.place import find


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


@pytest.fixture
def english_terminal(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def backup(place, *options):
    call_command("backup", str(place), *options, stdout=io.StringIO())
    return find(place)


def restore(place, *options):
    call_command("restore", str(place), *options, stdout=io.StringIO())


def content_of(artifact):
    with artifact.open() as file:
        return file.read()


@pytest.fixture
def run():
    """With points, lines, files of all kinds, and code."""
    run = unmanaged_run()
    record_points(
        run.pk, Points.of([Point("loss", step, 1 / (step + 1), step) for step in range(20)])
    )
    append_log(run, [Line.new("第一行"), Line.new("second")])
    uploads.store(run, "notes/读我.txt", io.BytesIO("你好".encode()))
    checkpoint(run, step=10).tag("发布", notes="", by=None)
    outputs.store_events(run)
    storing.store_evaluation(run, io.BytesIO(b'{"accuracy": 0.5}'), step=10)
    RunCode.objects.create(run=run, bundle=bundle({"train.py": "print(1)"}))
    return run


@pytest.fixture
def after_the_snapshot(monkeypatch):
    """Lets something happen between the snapshot of the database and the copying of files."""

    def let_happen(action):
        copy_all = _Copying.copy_all

        def act():
            with transaction.atomic():
                action()

        def act_and_copy(copying):
            for problem in in_parallel(act):
                assert not isinstance(problem, Exception), problem
            copy_all(copying)

        monkeypatch.setattr(_Copying, "copy_all", act_and_copy)

    return let_happen
