"""Bundles in the storage: each once, whoever brings it, for as long as a run has it."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, Final
from zipfile import ZipFile

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from artifacts.storage import HashingFile, Source, artifact_storage, open_in_parts
from artifacts.storage_errors import storage_errors
from artifacts.unreferenced_blobs import UnreferencedBlob
from code_bundles import archives
from code_bundles.limits import MAX_ARCHIVE_BYTES
from code_bundles.manifest import Entry, hash_of
from core.exceptions import DomainError
from core.messages import Message
from runs.models import CodeBundle, CodeUpload, RunCode

FOLDER: Final = "code-bundles"  # in the storage; no project has such an id
KEPT_UNUSED: Final = timedelta(days=7)  # from an upload to the run that refers to it
SWEPT_AT_ONCE: Final = 10
CHUNK_BYTES: Final = 1024 * 1024


class TooLarge(DomainError):
    code = "code_too_large"
    status_code = 413


class WrongHash(DomainError):
    code = "checksum_mismatch"
    status_code = 400


def too_large() -> TooLarge:
    return TooLarge(
        Message(
            "The archive has more than %(limit)d MB: leave out what is no code.",
            limit=MAX_ARCHIVE_BYTES // 1024**2,
        )
    )


def touch(sha256: str) -> bool:
    """Whether there is this bundle; if so, it is kept for KEPT_UNUSED from now on."""
    return bool(CodeBundle.objects.filter(pk=sha256).update(used_at=Now()))


def receive(
    content: Source, *, by: User | None, announced: str = "", archive_sha256: set[str] | None = None
) -> tuple[CodeBundle, bool]:
    """Store an archive that a client sends; whether it is new. ``announced``: the hash that its
    files have, by the client; ``archive_sha256``: those that the archive has.

    Raises BadBundle, TooLarge, WrongHash, StorageError: then nothing is kept.
    """
    with tempfile.TemporaryFile() as file:
        digest = _copy(content, file)
        if archive_sha256 and archive_sha256 != {digest}:
            raise _wrong_hash(digest)
        with archives.opened(file) as archive:
            entries = archives.examined(archive)
        if announced and hash_of(entries) != announced:
            raise _wrong_hash(hash_of(entries))
        bundle, is_new = keep(file, entries, by=by)
    if by is not None:
        upload = CodeUpload(bundle=bundle, user=by)
        CodeUpload.objects.bulk_create([upload], ignore_conflicts=True)
    return bundle, is_new


def _wrong_hash(actual: str) -> WrongHash:
    return WrongHash(Message("The sha256 is %(actual)s: nothing was saved.", actual=actual))


def _copy(content: Source, file: IO[bytes]) -> str:
    """The sha256. Raises TooLarge."""
    digest, count = hashlib.sha256(), 0
    while chunk := content.read(CHUNK_BYTES):
        count += len(chunk)
        if count > MAX_ARCHIVE_BYTES:
            raise too_large()
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def keep(file: IO[bytes], entries: list[Entry], *, by: User | None) -> tuple[CodeBundle, bool]:
    """Store the archive in ``file``, whose files are ``entries``, unless there is one with the same
    files; whether it is new. Raises TooLarge, StorageError."""
    sha256 = hash_of(entries)
    if touch(sha256):
        return CodeBundle.objects.defer("files").get(pk=sha256), False
    size = file.seek(0, os.SEEK_END)
    if size > MAX_ARCHIVE_BYTES:
        raise too_large()
    file.seek(0)
    UnreferencedBlob.objects.sweep()
    blob = UnreferencedBlob.objects.create(key=f"{FOLDER}/{sha256[:16]}-{secrets.token_hex(8)}.zip")
    try:
        source = HashingFile(file, expected_bytes=size)
        with storage_errors(source):
            artifact_storage().save(blob.key, source)
        with transaction.atomic():
            bundle, is_new = CodeBundle.objects.get_or_create(
                sha256=sha256,
                defaults={
                    "stored_as": blob.key,
                    "archive_sha256": source.sha256,
                    "size_bytes": source.byte_count,
                    "unpacked_bytes": sum(entry.size for entry in entries),
                    "file_count": len(entries),
                    "files": [list(entry) for entry in entries],
                    "created_by": by,
                },
            )
            if is_new:
                blob.claim()
    except BaseException:
        with suppress(DatabaseError):  # a later sweep deletes it
            UnreferencedBlob.objects.drop([blob.key])
        raise
    if is_new:
        bundle.refresh_from_db(fields=["created_at", "used_at"])
    else:  # somebody else was quicker
        UnreferencedBlob.objects.drop([blob.key])
    return bundle, is_new


@contextmanager
def opened(bundle: CodeBundle) -> Iterator[ZipFile]:
    """The stored archive, of which only what is read is fetched. Raises FileNotFoundError,
    BadBundle."""
    with (
        open_in_parts(bundle.stored_as, bundle.size_bytes) as file,
        archives.opened(file) as archive,
    ):
        yield archive


def sweep() -> None:
    """Delete bundles that no run has had for KEPT_UNUSED since they were uploaded."""
    has_run = Exists(RunCode.objects.filter(bundle=OuterRef("pk")))
    unused = CodeBundle.objects.filter(~has_run, used_at__lt=Now() - KEPT_UNUSED)
    with transaction.atomic():
        locked = unused.order_by("used_at").select_for_update(skip_locked=True, of=("self",))
        found = list(locked.values_list("pk", "stored_as")[:SWEPT_AT_ONCE])
        # Again, now that the rows are locked: a run may have got one since the query began.
        pks = [pk for pk, _key in found]
        used = set(RunCode.objects.filter(bundle__in=pks).values_list("bundle_id", flat=True))
        gone = {pk: key for pk, key in found if pk not in used}
        CodeBundle.objects.filter(pk__in=gone).delete()
        UnreferencedBlob.objects.release(gone.values())
