"""Which files of the storage the database refers to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from artifacts.models import Artifact
from execution.models import MirroredAttempt, MirroredChunk
from runs.models import CodeBundle

ROWS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that a row refers to. ``sha256``: as recorded; empty if it is not. ``artifact``: the
    row's id, if it is an artifact; ``may_change``: its run may write other bytes under this key."""

    key: str
    size_bytes: int
    sha256: str = ""
    artifact: str = ""
    may_change: bool = False


# Of attempts: it may be large, and a database of an earlier release lacks some of it.
UNREAD: Final = ("launch", "encrypted_environment")


def references() -> Iterator[Reference]:
    """All of them. Streams: call in a transaction, for those of one moment."""
    yield from _artifacts()
    yield from other_references()


def other_references() -> Iterator[Reference]:
    """Those of code bundles, and of what nodes have sent, which are no artifacts."""
    for bundle in CodeBundle.objects.defer("files").order_by().iterator(ROWS_AT_ONCE):
        yield Reference(bundle.stored_as, bundle.size_bytes, bundle.archive_sha256)
    for attempt in MirroredAttempt.objects.defer(*UNREAD).order_by().iterator(ROWS_AT_ONCE):
        yield Reference(attempt.start_key, attempt.start_bytes, attempt.start_sha256)
    chunks = MirroredChunk.objects.exclude(key="").order_by().values_list("key", "size")
    for key, size in chunks.iterator(ROWS_AT_ONCE):
        yield Reference(key, size)


def _artifacts() -> Iterator[Reference]:
    rows = Artifact.every.with_bytes().select_related("run").order_by()
    columns = ("file", "stored_as", "type", "size_bytes", "sha256", "run__project_id")
    for artifact in rows.only(*columns).iterator(ROWS_AT_ONCE):
        yield Reference(
            artifact.storage_key,
            artifact.size_bytes,
            artifact.sha256,
            artifact=artifact.pk,
            may_change=not artifact.is_uploaded,
        )
