"""What a backup has of a system that changes, and when there is none."""

import hashlib
import io
import json
import os
from functools import partial
from unittest.mock import Mock

import pytest
from django.core.management.base import CommandError
from django.db import connection

from artifacts import file_tree, storing, uploads
from artifacts.deletion_hold import DELETION_LOCK, hold_deletions, holds_deletions
from artifacts.models import Artifact, EvaluationResult
from tests.factories import damage, stored_path
from tests.trainhub.backups.conftest import backup, content_of, restore
from trainhub.backups import postgres_tools
from trainhub.backups.making import _Copying
from trainhub.backups.place import backups_in, find

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("english_terminal"),
]


def test_deleted_files_stay_until_the_backup_has_them(run, place, elsewhere, after_the_snapshot):
    after_the_snapshot(partial(file_tree.delete, run, "notes/读我.txt"))

    made = backup(place)

    assert made.manifest.missing == []
    with elsewhere.used():
        restore(place)
        assert content_of(Artifact.objects.get(type="file")) == "你好".encode()


def test_row_of_a_rewritten_file_is_that_of_its_bytes(run, place, elsewhere, after_the_snapshot):
    evaluation = io.BytesIO(b'{"accuracy": 0.75}')
    after_the_snapshot(partial(storing.store_evaluation, run, evaluation, step=15))

    backup(place)

    with elsewhere.used():
        restore(place)
        restored = Artifact.objects.get(type="evaluation")
        content = content_of(restored)
        assert json.loads(content) == {"accuracy": 0.75}
        assert (restored.step, restored.sha256) == (15, hashlib.sha256(content).hexdigest())
        assert [(it.step, it.value) for it in EvaluationResult.objects.all()] == [
            (10, 0.5),
            (15, 0.75),
        ]


def test_damage_is_backed_up_as_it_is_and_told(run, place, monkeypatch):
    monkeypatch.setattr("trainhub.backups.making.SETTLED_WITHIN_SECONDS", 0.1)
    checkpoint, note = Artifact.objects.get(type="checkpoint"), Artifact.objects.get(type="file")
    damage(checkpoint)
    stored_path(note).unlink()

    with pytest.raises(CommandError, match="1 files are missing there, 1 are not") as told:
        backup(place)

    manifest = find(place).manifest
    assert told.value.returncode == 3
    assert (manifest.missing, manifest.differing) == ([note.storage_key], [checkpoint.storage_key])


def test_files_that_a_backup_has_are_not_copied_again(run, place):
    backup(place)
    before = {path: path.stat().st_ino for path in (place / "files").rglob("*")}
    uploads.store(run, "new.txt", io.BytesIO(b"new"))

    backup(place, "--keep", "1")

    after = {path: path.stat().st_ino for path in (place / "files").rglob("*")}
    assert after.items() >= before.items()
    assert sum(path.is_file() for path in after.keys() - before.keys()) == 1
    assert len(list(place.glob("2*"))) == 1


def test_files_of_removed_backups_go_unless_another_has_them(run, place):
    backup(place)
    file_tree.delete(run, "notes/读我.txt")

    kept = backup(place, "--keep", "1")

    names = {path.name for path in (place / "files").rglob("*") if path.is_file()}
    assert names == {file.sha256 for file in kept.files()}


def test_interrupted_backup_is_none(place, monkeypatch):
    monkeypatch.setattr(_Copying, "copy_all", Mock(side_effect=KeyboardInterrupt))

    with pytest.raises(CommandError, match="Interrupted") as interrupted:
        backup(place)

    assert interrupted.value.returncode == 130
    assert not list(place.glob(".unfinished-*"))
    with pytest.raises(CommandError, match="no finished backup"):
        restore(place)


def test_folders_of_stored_files_are_flushed_to_the_disk(run, place, monkeypatch):
    flushed, fsync = set(), os.fsync

    def note(descriptor):
        flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)

    backup(place)

    folders = [place / "files", *(place / "files").glob("??")]
    assert len(folders) > 1
    assert {folder.stat().st_ino for folder in folders} <= flushed


def test_backup_that_has_lost_its_hold_on_files_is_none(run, place, after_the_snapshot):
    def end_the_hold():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " JOIN pg_database ON pg_database.oid = database"  # not those of other tests
                " WHERE locktype = 'advisory' AND objid = %s AND mode = 'ExclusiveLock'"
                " AND datname = current_database()",
                [DELETION_LOCK],
            )

    after_the_snapshot(end_the_hold)

    with pytest.raises(CommandError, match="connection to the database was lost"):
        backup(place)

    assert backups_in(place) == []


def test_waiting_for_another_backup_is_told():
    told = Mock(side_effect=lambda: first.rollback())
    with postgres_tools.connect() as first, postgres_tools.connect() as second:
        hold_deletions(first)

        hold_deletions(second, waiting=told)

        assert holds_deletions(second)
    told.assert_called_once_with()


def test_pg_dump_older_than_the_server_is_named(place, tmp_path, monkeypatch):
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.9'\n")
    old.chmod(0o755)
    monkeypatch.setattr(postgres_tools, "_candidates", lambda _name: [str(old)])

    with pytest.raises(CommandError, match="pg_dump is of version 12, but the server of"):
        backup(place)
