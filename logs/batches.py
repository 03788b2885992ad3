"""Batches of log lines that clients send: validated as a whole, appended once if they are named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from core.exceptions import DomainError, InvalidInput
from core.msgspec_errors import invalid
from core.times import YEAR_RANGE, is_time, milliseconds
from logs import appending
from logs.lines import Line
from logs.models import MAX_RANK, MAX_SOURCE_LENGTH, LogBatch, LogLevel
from runs.models import Run
from runs.reports import in_trash

MAX_LINES: Final = 10_000
MAX_BATCH_NAME_LENGTH: Final = 200

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class BatchChanged(DomainError):
    """The batch name was already used for different lines."""

    code = "batch_changed"


class SentLine(msgspec.Struct, forbid_unknown_fields=True):
    message: str
    level: LogLevel = LogLevel.INFO
    source: Annotated[str, msgspec.Meta(max_length=MAX_SOURCE_LENGTH)] = ""
    rank: Annotated[int, msgspec.Meta(ge=0, le=MAX_RANK)] | None = None
    timestamp: Timestamp | None = None


class SentBatch(msgspec.Struct, forbid_unknown_fields=True):
    lines: Annotated[list[SentLine], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    batch: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_BATCH_NAME_LENGTH)] | None = (
        None
    )


@dataclass(frozen=True, slots=True)
class Appended:
    first_seq: int
    last_seq: int
    repeated: bool  # the batch was already stored
    cut: int  # messages that are too long and were cut


def read(data: Any) -> SentBatch:
    """Convert ``data``, decoded JSON. Raises InvalidInput, which names the bad line."""
    try:
        batch = msgspec.convert(data, SentBatch)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    for number, line in enumerate(batch.lines):
        if line.timestamp is not None and not is_time(milliseconds(line.timestamp)):
            raise InvalidInput(YEAR_RANGE, attr=f"lines.{number}.timestamp")
    return batch


def append(run_id: str, batch: SentBatch) -> Appended:
    """Append the batch's lines, unless one with its name is already stored; committed when this
    returns.

    Raises BatchChanged, InTrash, Run.DoesNotExist.
    """
    cut = sum(len(line.message) > appending.MAX_MESSAGE_LENGTH for line in batch.lines)
    with transaction.atomic():
        run = Run.objects.lock(run_id)
        if run.deleted_at is not None:
            raise in_trash(run_id)
        if batch.batch is None:
            return _append(run, batch, cut)
        content = _digest(msgspec.json.encode(batch.lines))
        key = _digest(b"batch:" + batch.batch.encode())
        stored = LogBatch.objects.filter(run=run, key=key).first()
        if stored is not None:
            return _repeated(stored, content, cut)
        appended = _append(run, batch, cut)
        LogBatch.objects.create(
            run=run,
            key=key,
            content=content,
            first_seq=appended.first_seq,
            count=len(batch.lines),
        )
        return appended


def _append(run: Run, batch: SentBatch, cut: int) -> Appended:
    first_seq = run.log_count + 1
    appending.append_log(run, _lines(batch))
    return Appended(first_seq, run.log_count, repeated=False, cut=cut)


def _repeated(stored: LogBatch, content: bytes, cut: int) -> Appended:
    if bytes(stored.content) != content:
        raise BatchChanged(_("A batch with this name was already sent with different lines."))
    return Appended(stored.first_seq, stored.first_seq + stored.count - 1, repeated=True, cut=cut)


def _lines(batch: SentBatch) -> list[Line]:
    now = datetime.now(UTC)
    return [
        Line.new(
            line.message,
            line.level.value,
            line.source,
            # PostgreSQL rejects UTC offsets of 16 hours or more.
            now if line.timestamp is None else line.timestamp.astimezone(UTC),
            line.rank,
        )
        for line in batch.lines
    ]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
