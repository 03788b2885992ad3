"""For how long a run has held its GPUs: all its attempts, without the time in the queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from runs.models import EventKind, Run
from runs.status import TERMINAL

LEAVINGS: Final = (EventKind.RECOVERED, EventKind.RELEASED)


def held_time(run: Run, *, until: datetime) -> timedelta:
    """The time up to ``until`` that workers have held the run: each from its claim until the run
    ended, was released or recovered. Of a run without a worker, the time since its start."""
    total = timedelta()
    for began, ended in _intervals(run):
        total += max(timedelta(), min(ended or until, until) - began)
    return total


def _intervals(run: Run) -> Iterator[tuple[datetime, datetime | None]]:
    is_claim = Q(kind=EventKind.CLAIMED)
    is_end = Q(kind__in=LEAVINGS) | Q(to_status__in=TERMINAL)
    events = run.events.filter(is_claim | is_end).order_by("id").values_list("kind", "created_at")
    marks = list(events)
    if not any(kind == EventKind.CLAIMED for kind, _at in marks):
        if run.started_at is not None:
            yield run.started_at, run.finished_at
        return
    began: datetime | None = None
    for kind, at in marks:
        if began is not None:
            yield began, at
        began = at if kind == EventKind.CLAIMED else None
    if began is not None:
        yield began, run.finished_at
