"""Storage backends for artifact bytes: local files and S3, through Django's storage API."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast

from botocore.config import Config
from botocore.exceptions import ClientError
from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from artifacts.s3_objects import InBlocks, Streamed
from artifacts.s3_uploads import transfer_config

CHUNK_BYTES = 1024 * 1024
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
        # Trainings may be able to pass through the data directory.
        Path(self.location).mkdir(mode=0o770, parents=True, exist_ok=True)
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
    """The S3 storage of django-storages; overwrites existing names.

    It streams: no bytes are copied to disk, and memory is bounded.
    """

    # Readers compare the sha256: a checksum of S3 as well would cost time, and what is damage would
    # be an error of the storage.
    UNCHECKED: Final = Config(response_checksum_validation="when_required")
    client_config: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_config = self.client_config.merge(self.UNCHECKED)

    def _save(self, name: str, content: File[Any]) -> str:
        name = clean_name(name)
        key = self._normalize_name(name)
        size = content.expected_bytes if isinstance(content, HashingFile) else None
        parameters = self._get_write_parameters(key, content)
        self.bucket.Object(key).upload_fileobj(
            content, ExtraArgs=parameters, Config=transfer_config(size)
        )
        return name

    def _open(self, name: str, mode: str = "rb") -> BytesFile:
        if mode != "rb":
            raise ValueError("A stored file is only read, as bytes.")
        return self.open_range(name)

    def object_key(self, name: str) -> str:
        """The key in the bucket of the stored file ``name``."""
        key: str = self._normalize_name(clean_name(name))
        return key

    @cached_property
    def signing_client(self) -> Any:
        """Signs requests that clients send to S3 themselves, at the address that they know."""
        return self._create_session().client(
            "s3",
            region_name=self.region_name,
            use_ssl=self.use_ssl,
            endpoint_url=settings.S3_PUBLIC_ENDPOINT or self.endpoint_url,
            config=self.client_config.merge(Config(signature_version="s3v4")),
            verify=self.verify,
        )

    def open_range(self, name: str, first: int = 0, end: int | None = None) -> BytesFile:
        """See the function of this name."""
        stream = Streamed(partial(self._get, name), first, end)
        return File(cast("IO[bytes]", io.BufferedReader(stream)), name)

    def read_range(self, name: str, first: int, end: int) -> bytes:
        """The bytes from ``first`` to before ``end``. Raises FileNotFoundError."""
        with self.open_range(name, first, end) as file:
            content: bytes = file.read()
        return content

    def _get(self, name: str, first: int, end: int | None, etag: str) -> dict[str, Any]:
        """See Streamed. Raises FileNotFoundError, also if the object ends before ``first``."""
        conditions = {"IfMatch": etag} if etag else {}
        if first or end is not None:
            conditions["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        try:
            response: dict[str, Any] = self.bucket.Object(self.object_key(name)).get(**conditions)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 416}:
                raise FileNotFoundError(name) from error
            raise
        return response


def open_range(name: str, first: int = 0, end: int | None = None) -> BytesFile:
    """The stored file ``name`` from the byte ``first`` on, to be read once; not more than up to
    before ``end``, if given. From S3, these bytes are fetched while they are read. Raises
    FileNotFoundError."""
    storage = artifact_storage()
    if isinstance(storage, ArtifactS3Storage):
        return storage.open_range(name, first, end)
    file = storage.open(name, "rb")
    file.seek(first)
    return file


def open_in_parts(name: str, size: int) -> IO[bytes]:
    """The stored file ``name`` of ``size`` bytes, of which little is read; from S3 not much more is
    fetched. Raises FileNotFoundError, from S3 when it is read."""
    storage = artifact_storage()
    if isinstance(storage, ArtifactS3Storage):
        in_blocks = InBlocks(partial(storage.read_range, name), size)
        return cast("IO[bytes]", io.BufferedReader(in_blocks))
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


def sha256_of(name: str, tell: Callable[[int], None] = lambda _size: None) -> tuple[str, int]:
    """The sha256 and size in bytes of the file ``name``. ``tell`` gets the number of bytes read so
    far, often. Raises FileNotFoundError."""
    digest, size = hashlib.sha256(), 0
    with artifact_storage().open(name, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            tell(size)
    return digest.hexdigest(), size
