"""What tools answer: small, whatever there is. Long texts are cut, lists end with how to go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.utils.translation import gettext as _

from core.numbers import json_number
from core.text import truncate

MAX_BYTES: Final = 8000  # of an answer as JSON: some 2,500 tokens
MAX_TEXT: Final = 300  # characters of a text in it
MAX_VALUES: Final = 40  # of a run's hyperparameters


@dataclass(slots=True)
class Answer:
    """``content``: plain JSON values. ``rows``: the name of the list in it that may be shortened,
    if any; ``more``: how to ask for what is missing then, after "next_offset"."""

    content: dict[str, Any]
    rows: str = ""
    offset: int | None = None  # of the first row; None: there is no way to ask for the others
    total: int | None = None  # of all rows; None: not known
    notes: list[str] = field(default_factory=list)  # for the reader

    def fitted(self) -> dict[str, Any]:
        """The content in at most MAX_BYTES, with ``total`` and ``next_offset`` where rows are
        missing. If that is not enough, the longest objects and lists in it are shortened."""
        content = dict(self.content)
        rows = list(content.get(self.rows, ())) if self.rows else []
        shown = len(rows)
        while True:
            found = self._with_rows(content, rows, shown)
            if not rows or len(orjson.dumps(found)) <= MAX_BYTES:
                break
            rows.pop()
        return _shortened(found)

    def _with_rows(self, content: dict[str, Any], rows: list[Any], shown: int) -> dict[str, Any]:
        found = {**content, self.rows: rows} if self.rows else dict(content)
        notes = list(self.notes)
        after = (self.offset or 0) + len(rows)
        if self.total is not None:
            found["total"] = self.total
            if self.offset is not None and after < self.total:
                found["next_offset"] = after
        if len(rows) < shown:
            notes.append(_("Shortened: %(count)d more do not fit.") % {"count": shown - len(rows)})
        if notes:
            found["notes"] = notes
        return found


def _shortened(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` in MAX_BYTES: what is longest loses its last entries."""
    left = dict(content)
    dropped: dict[str, int] = {}
    while len(orjson.dumps(left)) > MAX_BYTES:
        sizes = {
            name: len(orjson.dumps(value))
            for name, value in left.items()
            if isinstance(value, dict | list) and value and name != "notes"
        }
        if not sizes:
            break
        longest = max(sizes, key=sizes.__getitem__)
        value = left[longest]
        left[longest] = dict(list(value.items())[:-1]) if isinstance(value, dict) else value[:-1]
        dropped[longest] = dropped.get(longest, 0) + 1
        message = _("%(name)s is shortened: %(count)d more do not fit.")
        told = [message % {"name": name, "count": count} for name, count in dropped.items()]
        left["notes"] = [*content.get("notes", ()), *told]
    return left


def text(value: Any, limit: int = MAX_TEXT) -> str:
    return truncate(str(value), limit)


def time(value: datetime | None) -> str | None:
    """In UTC, to the second."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def values(given: dict[str, Any], limit: int = MAX_VALUES) -> dict[str, Any]:
    """The first ``limit`` of hyperparameters, tags or metrics, each of at most MAX_TEXT
    characters; "…" says how many more there are."""
    shown = {text(key, 100): small(value) for key, value in list(given.items())[:limit]}
    if len(given) > limit:
        shown["…"] = _("%(count)d more") % {"count": len(given) - limit}
    return shown


def small(value: Any) -> Any:
    """A value as it is if it is short, else the beginning of its JSON."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, bool | int) or value is None:
        return value
    written = orjson.dumps(value).decode()
    return value if len(written) <= MAX_TEXT else truncate(written, MAX_TEXT)
