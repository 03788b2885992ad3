"""Where artifacts' bytes lie: Django's storage API over files or S3."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from storages.backends.s3 import S3Storage

CHUNK_BYTES = 1024 * 1024
SPOOL_BYTES = 8 * CHUNK_BYTES  # what is read from S3 stays in memory up to here
# What a killed process left half written is swept away by a later write.
ABANDONED_SECONDS = 3600.0

if TYPE_CHECKING:
    BytesFile = File[bytes]  # generic for the type checker alone
else:
    BytesFile = File


def artifact_storage() -> Storage:
    return storages["artifacts"]


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are whole or not there: written aside, flushed to disk, then renamed."""

    INCOMING = ".incoming"  # below the root: few files, on the same file system

    def _save(self, name: str, content: File[Any]) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(self.path(self.INCOMING))
        incoming.mkdir(exist_ok=True)
        self._sweep(incoming)
        handle, temporary = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in content.chunks(CHUNK_BYTES):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o640)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)
        return name

    def _sweep(self, incoming: Path) -> None:
        for path in incoming.iterdir():
            try:
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                continue  # its writer has just finished

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # a name is an address: storing it again replaces it


def _sync_directory(directory: Path) -> None:
    """The new name lives in the directory, which has to reach the disk as well."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ArtifactS3Storage(S3Storage):  # type: ignore[misc]
    """django-storages' S3, its memory bounded; it overwrites by name."""

    def get_default_settings(self) -> dict[str, Any]:
        return {**super().get_default_settings(), "max_memory_size": SPOOL_BYTES}


class Source(Protocol):
    """What can be read once, from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes: ...


class HashingFile(BytesFile):
    """Hands out the bytes of ``source`` once, keeping their sha256 and count.

    Once, because a client that reads bytes again (to sign them, to try again) would count them
    twice: it is told that there is no going back, and keeps what it may need.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(cast("IO[bytes]", source))
        self._source = source
        self._hash = hashlib.sha256()
        self.byte_count = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        chunk = self._source.read(-1 if size is None else size)
        self._hash.update(chunk)
        self.byte_count += len(chunk)
        return chunk

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        while chunk := self.read(chunk_size or CHUNK_BYTES):
            yield chunk


def sha256_of(name: str) -> tuple[str, int]:
    """The sha256 and size in bytes of what is stored under ``name``. Raises FileNotFoundError."""
    digest, size = hashlib.sha256(), 0
    with artifact_storage().open(name, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
