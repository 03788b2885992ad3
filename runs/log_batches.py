"""Lines that clients send: read, checked as a whole, and appended once however often they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from runs import ingestion
from runs.models import LogBatch, LogLevel, Run
from trainhub.exceptions import DomainError, InvalidInput
from trainhub.messages import invalid

MAX_LINES: Final = 10_000
MAX_SOURCE_LENGTH: Final = 64
MAX_BATCH_NAME_LENGTH: Final = 200
MAX_RANK: Final = 2**31 - 1
YEARS: Final = range(1970, 9999)  # of times that every reader can show in its own zone

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class BatchChanged(DomainError):
    """The name of a batch has come before, with other lines."""

    code = "batch_changed"


class RunInTrash(DomainError):
    code = "run_in_trash"


class SentLine(msgspec.Struct):
    message: str
    level: LogLevel = LogLevel.INFO
    source: Annotated[str, msgspec.Meta(max_length=MAX_SOURCE_LENGTH)] = ""
    rank: Annotated[int, msgspec.Meta(ge=0, le=MAX_RANK)] | None = None
    timestamp: Timestamp | None = None


class SentBatch(msgspec.Struct):
    lines: Annotated[list[SentLine], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    batch: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_BATCH_NAME_LENGTH)] | None = (
        None
    )


@dataclass(frozen=True, slots=True)
class Appended:
    first_seq: int
    last_seq: int
    repeated: bool  # the lines were there already


def read(data: Any) -> SentBatch:
    """The batch that ``data``, decoded JSON, is. Raises InvalidInput, which names the bad line."""
    try:
        batch = msgspec.convert(data, SentBatch)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    for number, line in enumerate(batch.lines):
        if line.timestamp is not None and line.timestamp.year not in YEARS:
            raise InvalidInput(
                _("The year is not one of %(first)d to %(last)d.")
                % {"first": YEARS[0], "last": YEARS[-1]},
                attr=f"lines.{number}.timestamp",
            )
    return batch


def append(run_id: str, batch: SentBatch) -> Appended:
    """Append the batch's lines, unless it has come before; committed when this returns.

    Raises BatchChanged, RunInTrash, Run.DoesNotExist.
    """
    content = _digest(msgspec.json.encode(batch.lines))
    key = content if batch.batch is None else _digest(b"batch:" + batch.batch.encode())
    with transaction.atomic():
        run = Run.objects.lock(run_id)
        if run.deleted_at is not None:
            raise RunInTrash(_("The run is in the trash: it takes no lines."))
        known = LogBatch.objects.filter(run=run, key=key).first()
        if known is not None:
            return _again(known, content)
        first_seq = run.log_count + 1
        ingestion.append_log(run, _lines(batch))
        LogBatch.objects.create(
            run=run, key=key, content=content, first_seq=first_seq, count=len(batch.lines)
        )
        return Appended(first_seq, run.log_count, repeated=False)


def _again(known: LogBatch, content: bytes) -> Appended:
    if bytes(known.content) != content:
        raise BatchChanged(_("A batch of this name has come before, with other lines."))
    return Appended(known.first_seq, known.first_seq + known.count - 1, repeated=True)


def _lines(batch: SentBatch) -> list[ingestion.Line]:
    now = datetime.now(UTC)
    return [
        ingestion.Line(
            line.message,
            line.level.value,
            line.source,
            # PostgreSQL takes no offset of 16 hours and more.
            now if line.timestamp is None else line.timestamp.astimezone(UTC),
            line.rank,
        )
        for line in batch.lines
    ]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
