"""Entries of a kind, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from audit.models import Entry, EntryQuerySet
from core.times import EPOCH

PAGE: Final = 50
LARGEST_PAGE: Final = 500
BATCH: Final = 1_000  # of an export
MICROSECOND: Final = timedelta(microseconds=1)
LAST_ID: Final = 2**63 - 1
LAST_MICROSECOND: Final = 253_402_300_799_999_999  # of the year 9999


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """What entries have in common; empty: anything. ``since`` is included, ``before`` is not."""

    project_id: str = ""
    team_id: str = ""
    actor: str = ""
    action: str = ""
    kind: str = ""
    subject_id: str = ""
    token_id: str = ""
    since: datetime | None = None
    before: datetime | None = None

    def apply(self, entries: EntryQuerySet) -> EntryQuerySet:
        chosen = asdict(self)
        since, before = chosen.pop("since"), chosen.pop("before")
        entries = entries.filter(**{name: text for name, text in chosen.items() if text})
        if since is not None:
            entries = entries.filter(at__gte=since)
        return entries if before is None else entries.filter(at__lt=before)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The entry with which a page has ended."""

    microseconds: int  # Unix time
    id: int

    @classmethod
    def of(cls, entry: Entry) -> Cursor:
        return cls((entry.at - EPOCH) // MICROSECOND, entry.pk)

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None for what is no cursor."""
        time, _separator, pk = text.partition("-")
        if not (time.isascii() and time.isdigit() and pk.isascii() and pk.isdigit()):
            return None
        if len(time) > 20 or len(pk) > 20:
            return None
        cursor = cls(int(time), int(pk))
        is_possible = cursor.microseconds <= LAST_MICROSECOND and cursor.id <= LAST_ID
        return cursor if is_possible else None

    def __str__(self) -> str:
        return f"{self.microseconds}-{self.id}"

    def after(self, entries: EntryQuerySet) -> EntryQuerySet:
        """Those that come after it, which are older."""
        at = EPOCH + MICROSECOND * self.microseconds
        return entries.filter(Q(at__lt=at) | Q(at=at, id__lt=self.id), at__lte=at)


@dataclass(frozen=True, slots=True)
class Page:
    entries: list[Entry]
    next: Cursor | None


def page(entries: EntryQuerySet, *, after: Cursor | None, size: int = PAGE) -> Page:
    """The newest of ``entries``, or those after ``after``; read from an index, however many there
    are."""
    if after is not None:
        entries = after.after(entries)
    found = list(entries.order_by("-at", "-id")[: size + 1])
    shown = found[:size]
    return Page(shown, Cursor.of(shown[-1]) if len(found) > size else None)


def all_pages(entries: EntryQuerySet) -> Iterator[list[Entry]]:
    after: Cursor | None = None
    while True:
        batch = page(entries, after=after, size=BATCH)
        if batch.entries:
            yield batch.entries
        if batch.next is None:
            return
        after = batch.next
