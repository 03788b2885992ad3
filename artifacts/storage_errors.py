"""Errors of the storage, told apart from those of whoever sends the bytes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError

from artifacts.storage import HashingFile
from core.exceptions import DomainError
from core.messages import Message

# What a storage raises; FileNotFoundError, which is an answer, is among them.
FAILURES: Final = (OSError, BotoCoreError, Boto3Error, ClientError)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# The codes of S3 and of servers that speak its protocol.
_FULL_CODES: Final = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)


class StorageError(DomainError):
    """Bytes could not be stored; later they may be."""

    retry_seconds = 30


class StorageFull(StorageError):
    code = "storage_full"
    status_code = 507


class StorageUnavailable(StorageError):
    code = "storage_unavailable"
    status_code = 503


@contextmanager
def storage_errors(source: HashingFile) -> Iterator[None]:
    """Raise a StorageError for what the storage raises, but not for what ``source`` raises."""
    try:
        yield
    except FAILURES as error:
        if error is source.error:
            raise
        raise _as_storage_error(error) from error


@contextmanager
def s3_errors() -> Iterator[None]:
    """Raise a StorageError for what S3 refuses, and if it cannot be reached."""
    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise _as_storage_error(error) from error


def _as_storage_error(error: Exception) -> StorageError:
    if _is_full(error):
        return StorageFull(Message("There is no room in the artifact storage."))
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StorageUnavailable(Message("The artifact storage cannot be written: %(why)s.", why=why))


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    text = str(error)  # of an upload's error, which has no code
    return any(code in text for code in _FULL_CODES)
