"""Storage backends for artifact bytes: local files and S3, through Django's storage API."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from botocore.exceptions import ClientError
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from artifacts.s3_uploads import transfer_config

CHUNK_BYTES = 1024 * 1024
BLOCK_BYTES = 256 * 1024  # fetched from S3 at once where little of a file is read
SPOOL_BYTES = 8 * CHUNK_BYTES  # files read from S3 are kept in memory up to this size
# Age at which a later write deletes a temporary file left behind by a killed process.
ABANDONED_SECONDS = 3600.0

if TYPE_CHECKING:
    BytesFile = File[bytes]  # generic only for the type checker
else:
    BytesFile = File


def artifact_storage() -> Storage:
    return storages["artifacts"]


class DurableFileSystemStorage(FileSystemStorage):
    """Writes files atomically and durably: to a temporary file, flushed to disk, then renamed."""

    INCOMING = ".incoming"  # below the root, hence on the same file system

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
                continue  # its writer just finished

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # saving under an existing name replaces the file


def _sync_directory(directory: Path) -> None:
    """Flush the directory entry of a renamed file to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ArtifactS3Storage(S3Storage):  # type: ignore[misc]
    """The S3 storage of django-storages with bounded memory; overwrites existing names."""

    def get_default_settings(self) -> dict[str, Any]:
        return {**super().get_default_settings(), "max_memory_size": SPOOL_BYTES}

    def _save(self, name: str, content: File[Any]) -> str:
        name = clean_name(name)
        key = self._normalize_name(name)
        size = content.expected_bytes if isinstance(content, HashingFile) else None
        parameters = self._get_write_parameters(key, content)
        self.bucket.Object(key).upload_fileobj(
            content, ExtraArgs=parameters, Config=transfer_config(size)
        )
        return name

    def read_range(self, name: str, first: int, end: int) -> bytes:
        """The bytes from ``first`` to before ``end``. Raises FileNotFoundError."""
        key = self._normalize_name(clean_name(name))
        try:
            response = self.bucket.Object(key).get(Range=f"bytes={first}-{end - 1}")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise FileNotFoundError(name) from error
            raise
        content: bytes = response["Body"].read()
        return content


class _InBlocks(io.RawIOBase):
    """A file of ``size`` bytes in S3, of which only the blocks that are read are fetched."""

    def __init__(self, storage: ArtifactS3Storage, name: str, size: int) -> None:
        self._storage, self._name, self._size = storage, name, size
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, inside = divmod(self._position, BLOCK_BYTES)
        content = self._block(number)[inside : inside + len(buffer)]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _block(self, number: int) -> bytes:
        first = number * BLOCK_BYTES
        if first >= self._size:
            return b""
        if number not in self._blocks:
            end = min(first + BLOCK_BYTES, self._size)
            self._blocks[number] = self._storage.read_range(self._name, first, end)
        return self._blocks[number]


def open_in_parts(name: str, size: int) -> IO[bytes]:
    """The stored file ``name`` of ``size`` bytes, of which little is read; from S3 not much more is
    fetched. Raises FileNotFoundError, from S3 when it is read."""
    storage = artifact_storage()
    if isinstance(storage, ArtifactS3Storage):
        return cast("IO[bytes]", io.BufferedReader(_InBlocks(storage, name, size)))
    return cast("IO[bytes]", storage.open(name, "rb"))


class Source(Protocol):
    """Bytes that can be read once, from start to end."""

    def read(self, size: int = -1, /) -> bytes: ...


class HashingFile(BytesFile):
    """Passes the bytes of ``source`` through, computing their sha256 and count.

    Not seekable: if the S3 client read bytes again (to sign or retry), they would be counted twice.
    It therefore buffers what it may need again. ``expected_bytes``: about how many there are, if
    that is known: by it the parts are chosen that S3 gets.
    """

    def __init__(self, source: Source, *, expected_bytes: int | None = None) -> None:
        super().__init__(cast("IO[bytes]", source))
        self._source = source
        self.expected_bytes = expected_bytes
        self._hash = hashlib.sha256()
        self.byte_count = 0
        self.error: Exception | None = None  # that the source has raised

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Fewer than ``size`` bytes only at the end, although a source may return fewer: the S3
        client would take that for the end of a small file and read the rest into memory."""
        chunks, missing = [], -1 if size is None else size
        while missing and (chunk := self._read_some(missing)):
            chunks.append(chunk)
            missing -= len(chunk)
        return b"".join(chunks)

    def _read_some(self, size: int) -> bytes:
        try:
            chunk = self._source.read(size)
        except Exception as error:
            self.error = error
            raise
        self._hash.update(chunk)
        self.byte_count += len(chunk)
        return chunk

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        while chunk := self.read(chunk_size or CHUNK_BYTES):
            yield chunk


def sha256_of(name: str) -> tuple[str, int]:
    """The sha256 and size in bytes of the file ``name``. Raises FileNotFoundError."""
    digest, size = hashlib.sha256(), 0
    with artifact_storage().open(name, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
