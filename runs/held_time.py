"""For how long a run has held its GPUs: all its attempts, without the time in the queue.

``held_so_far``, and for queries ``HELD_SECONDS``, tell it by the run's row; ``held_time`` tells how
long it was at an earlier time, by the run's events.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import DurationField, F, FloatField, Q, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Cast, Coalesce, Extract, Greatest, Now
from django.utils import timezone

from runs.models import Run
from runs.models.event import ARRIVALS, LEAVINGS
from runs.status import TERMINAL


def _epoch(span: Any) -> Any:
    return Cast(Extract(span, "epoch"), FloatField())


def _since(start: str, end: Any) -> Any:
    return CombinedExpression(end, "-", F(start), output_field=DurationField())


# From the start of a run to its end, or to now, in seconds; NULL if it has not started.
ELAPSED_SECONDS: Final = _epoch(_since("started_at", Coalesce("finished_at", Now())))
HELD_SECONDS: Final = Coalesce(
    CombinedExpression(
        F("held_seconds"),
        "+",
        Greatest(_epoch(_since("held_since", Now())), Value(0.0)),  # 0 if it is NULL
        output_field=FloatField(),
    ),
    ELAPSED_SECONDS,
)


def elapsed(run: Run, now: datetime | None = None) -> timedelta | None:
    """From the start of the run to its end, or to ``now``, with the time in the queue between two
    attempts; None if it has not started."""
    if run.started_at is None:
        return None
    return (run.finished_at or now or timezone.now()) - run.started_at


def held_so_far(run: Run, now: datetime) -> timedelta | None:
    """The same as ``held_time``, by the run's row; None if it has not started."""
    if run.held_seconds is None:
        return elapsed(run, now)
    at_work = timedelta() if run.held_since is None else max(timedelta(), now - run.held_since)
    return timedelta(seconds=run.held_seconds) + at_work


def gpu_hours(run: Run, now: datetime) -> float | None:
    """What the run has held so far; None if it has not started."""
    held = held_so_far(run, now)
    return None if held is None else held / timedelta(hours=1) * run.gpu_count


def held_time(run: Run, *, until: datetime) -> timedelta:
    """The time up to ``until`` that workers have held the run: each from its claim until the run
    ended, was released or recovered. Of a run without a worker, the time since its start."""
    total = timedelta()
    for began, ended in _intervals(run):
        total += max(timedelta(), min(ended or until, until) - began)
    return total


def _intervals(run: Run) -> Iterator[tuple[datetime, datetime | None]]:
    is_claim = Q(kind__in=ARRIVALS)
    is_end = Q(kind__in=LEAVINGS) | Q(to_status__in=TERMINAL)
    events = run.events.filter(is_claim | is_end).order_by("id").values_list("kind", "created_at")
    marks = list(events)
    if not any(kind in ARRIVALS for kind, _at in marks):
        if run.started_at is not None:
            yield run.started_at, run.finished_at
        return
    began: datetime | None = None
    for kind, at in marks:
        if began is not None:
            yield began, at
        began = at if kind in ARRIVALS else None
    if began is not None:
        yield began, run.finished_at
