"""Reading a run's log: pages at any depth, filters, and the tail as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from runs.models import LogLine, Run


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: those from ``start_time`` on and before ``end_time``, of exactly ``level``,
    whose message contains ``q`` (upper or lower case). What is left empty does not filter."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    level: str = ""
    q: str = ""

    def __bool__(self) -> bool:
        return self != EVERYTHING

    def of(self, lines: QuerySet[LogLine]) -> QuerySet[LogLine]:
        if "\x00" in self.q + self.level:
            return lines.none()  # no stored line holds one, and PostgreSQL refuses to look
        if self.start_time is not None:
            lines = lines.filter(timestamp__gte=self.start_time)
        if self.end_time is not None:
            lines = lines.filter(timestamp__lt=self.end_time)
        if self.level:
            lines = lines.filter(level=self.level)
        if self.q:
            lines = lines.filter(message__icontains=self.q)
        return lines


EVERYTHING = LogFilter()


@dataclass(frozen=True, slots=True)
class LogPage:
    total: int  # lines that pass the filter, on every page together
    items: list[LogLine]


def page(run: Run, page: int, page_size: int, only: LogFilter = EVERYTHING) -> LogPage:
    """Page ``page`` (from 1) of the lines that pass ``only``, in the order they were written.

    Past the end there are no items. Without a filter a page is a range of ``seq``, and the total
    stands on the run's row: the last page of a long log costs what the first does.
    """
    first = (page - 1) * page_size
    lines = _lines(run)
    if not only:
        in_page = lines.filter(seq__gt=first, seq__lte=first + page_size)
        return LogPage(run.log_count, list(in_page) if first < run.log_count else [])
    lines = only.of(lines)
    total = lines.count()
    return LogPage(total, list(lines[first : first + page_size]) if first < total else [])


def after(run: Run, seq: int, limit: int, only: LogFilter = EVERYTHING) -> list[LogLine]:
    """The next lines after number ``seq``, ``limit`` at most."""
    return list(only.of(_lines(run).filter(seq__gt=seq))[:limit])


def tail(run: Run, limit: int, only: LogFilter = EVERYTHING) -> list[LogLine]:
    """The newest lines, ``limit`` at most, in the order they were written."""
    return list(only.of(_lines(run)).order_by("-seq")[:limit])[::-1]


def _lines(run: Run) -> QuerySet[LogLine]:
    return LogLine.objects.filter(run_id=run.pk).order_by("seq")
