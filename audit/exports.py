"""Entries as JSON, lines of JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
from django.db import models

from audit.models import Entry
from core.text import neutral

COLUMNS: Final = (
    "id",
    "at",
    "action",
    "kind",
    "subject_id",
    "name",
    "project_id",
    "team_id",
    "actor",
    "token_id",
    "address",
    "via",
    "request_id",
    "before",
    "after",
)


class EntryFormat(models.TextChoices):
    JSON = "json"
    JSON_LINES = "jsonl"
    CSV = "csv"

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self]


CONTENT_TYPES: Final = {
    EntryFormat.JSON: "application/json",
    EntryFormat.JSON_LINES: "application/x-ndjson",
    EntryFormat.CSV: "text/csv; charset=utf-8; header=present",
}


def entry_json(entry: Entry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in COLUMNS}
    return {**row, "at": entry.at.isoformat().replace("+00:00", "Z")}


def to_json_lines(batches: Iterable[list[Entry]]) -> Iterator[bytes]:
    for batch in batches:
        yield b"".join(orjson.dumps(entry_json(entry)) + b"\n" for entry in batch)


def to_csv(batches: Iterable[list[Entry]]) -> Iterator[bytes]:
    """RFC 4180, UTF-8. Texts that a spreadsheet would compute are preceded by an apostrophe."""
    yield _csv([COLUMNS])
    for batch in batches:
        yield _csv([_cell(value) for value in entry_json(entry).values()] for entry in batch)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return neutral(value if isinstance(value, str) else orjson.dumps(value).decode())


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
