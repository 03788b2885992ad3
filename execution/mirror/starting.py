"""What an attempt starts with on nodes that share no directory with its worker: a description, and
an archive of the files that the worker has prepared."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.db import transaction

from artifacts.storage import HashingFile, artifact_storage
from artifacts.storage_errors import storage_errors
from artifacts.tar_stream import Member, TarStream, link_to, member_of
from artifacts.unreferenced_blobs import UnreferencedBlob
from execution.executors.attempt import Attempt
from execution.mirror.receiving import FOLDER
from execution.models import MirroredAttempt
from runs.models import Run, Worker

SENT: Final = ("config.json", "resume", "code", "repository")


def put_start(run: Run, worker: Worker, attempt: Attempt, launch: dict[str, Any]) -> None:
    """Let nodes fetch what the attempt starts with. Idempotent. Raises LeaseLost, StorageError,
    Changed, OSError."""
    if MirroredAttempt.objects.filter(run=run, number=attempt.number).exists():
        return
    key = f"{run.project_id}/{run.pk}/{FOLDER}/{secrets.token_hex(16)}"
    UnreferencedBlob.objects.track(key)
    source = HashingFile(TarStream(_members(attempt.directory)))
    with storage_errors(source):
        artifact_storage().save(key, source)
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        if locked.mirrored_attempts.filter(number=attempt.number).exists():
            return
        row = MirroredAttempt(
            run=locked,
            number=attempt.number,
            start_key=key,
            start_bytes=source.byte_count,
            start_sha256=source.sha256,
        )
        row.set_launch(launch)
        row.save()
        UnreferencedBlob(key=key).claim()


def _members(directory: Path) -> Iterator[Member]:
    for name in SENT:
        path = directory / name
        if path.is_file():
            yield member_of(name, path)
        for current, folders, names in os.walk(path):
            folders.sort()
            links = [folder for folder in folders if Path(current, folder).is_symlink()]
            for file in sorted([*names, *links]):
                inside = Path(current, file)
                yield _member(str(inside.relative_to(directory)), inside)


def _member(name: str, path: Path) -> Member:
    """As a run's code needs it: links, and which files can be executed."""
    if path.is_symlink():
        return link_to(name, path)
    mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return member_of(name, path)._replace(mode=mode)
