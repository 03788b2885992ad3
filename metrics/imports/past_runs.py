"""Brings runs in that have ended, from the files that they left.

A run's ID is derived from what is brought in, and each run is one transaction: however often an
import is started, and wherever it was interrupted, each run is there once, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from django.db import transaction
from django.db.models import Sum

from core.exceptions import DomainError
from core.ids import derived_id
from core.numbers import MAX_BIGINT
from core.text import readable, storable
from metrics.imports.descriptions import describe
from metrics.models import MetricPoint
from metrics.points import Points
from metrics.recording import delete_points, record_points
from projects.models import Project
from runs import unmanaged
from runs.models import Run
from runs.status import RunStatus

POINTS_PER_BATCH: Final = 10_000
# Of runs: datetime ends with the year 9999, which other time zones must not exceed.
LATEST_SECONDS: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

# Reports what share of the work was done since the last call.
Progress = Callable[[float], object]


class BadSource(Exception):
    """A file cannot be imported. The message, one sentence, is for the user."""


@dataclass(frozen=True)
class PastRun:
    """A run as its files tell it."""

    identity: tuple[str, ...]  # what tells it from all others, and never changes
    name: str
    source: str
    points: Points
    started_at: float  # in Unix seconds, like all times here
    finished_at: float
    # Whether the points' times are recorded ones. Estimates may change from import to import.
    times_are_known: bool = True
    # Points that earlier imports may have found and that a training reported again since.
    replaced: Points = field(default_factory=lambda: Points.of([]))
    status: RunStatus = RunStatus.COMPLETED
    exit_code: int | None = None
    total_steps: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0  # values that are no metrics


class Source(Protocol):
    """Files that one or more runs are read from."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def read(self, progress: Progress) -> list[PastRun]:
        """Raises BadSource, OSError."""


@dataclass(frozen=True)
class SourceFile:
    """A source that is a single file."""

    path: Path

    @property
    def name(self) -> str:
        return readable(self.path.stem)

    @cached_property
    def size_bytes(self) -> int:
        return self.path.stat().st_size


class Result(Enum):
    CREATED = auto()
    CONTINUED = auto()  # it was there and lacked some points
    UNCHANGED = auto()
    IN_TRASH = auto()


@dataclass(frozen=True)
class Outcome:
    run_id: str
    result: Result
    points: int = 0  # new ones
    left_out: int = 0  # hyperparameters and tags that cannot be stored


def bring_in(project: Project, past: PastRun, progress: Progress = lambda _share: None) -> Outcome:
    """Create the run, or add what the run that was created from these files lacks.

    Raises ProjectArchived, TooManyMetrics, InvalidReport.
    """
    run_id = derived_id("run", project.pk, *past.identity)
    past = _storable(past)
    with transaction.atomic():
        is_new = unmanaged.create_ended_run(
            project,
            run_id=run_id,
            name=past.name,
            status=past.status,
            started_at=_moment(past.started_at),
            finished_at=_moment(past.finished_at),
            exit_code=past.exit_code,
            source=past.source,
        )
        run = Run.objects.lock(run_id)
        if run.deleted_at is not None:
            return Outcome(run_id, Result.IN_TRASH)
        if not is_new:
            delete_points(run, past.replaced)
        before = 0 if is_new else _count(run)
        points = past.points if is_new or past.times_are_known else _missing(run, past.points)
        for batch in _in_batches(points):
            record_points(run_id, batch)
            progress(len(batch) / len(points))
        added, left_out = _count(run) - before, 0
        if is_new or added or (run.is_terminal and run.status != past.status):
            left_out = describe(run, past.params, past.tags)
            _settle(run, past)
        if is_new:
            # Last, as it locks the project. Raises ProjectArchived.
            project.allocate_run_number()
            return Outcome(run_id, Result.CREATED, added, left_out)
    return Outcome(run_id, Result.CONTINUED if added else Result.UNCHANGED, added, left_out)


def _storable(past: PastRun) -> PastRun:
    """``past`` with texts, times and a total that the database can store."""
    started = bounded(past.started_at)
    total = past.total_steps
    return replace(
        past,
        name=storable(past.name),
        source=storable(past.source),
        started_at=started,
        finished_at=max(started, bounded(past.finished_at)),
        total_steps=total if total is not None and 0 < total <= MAX_BIGINT else None,
    )


def bounded(seconds: float) -> float:
    """A Unix time, such as that of a file, from 1970 to LATEST_SECONDS."""
    return min(max(0.0, seconds), LATEST_SECONDS)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _count(run: Run) -> int:
    return run.series.aggregate(total=Sum("count"))["total"] or 0


def _missing(run: Run, points: Points) -> Points:
    """The points whose value is not stored at their step."""
    stored = MetricPoint.objects.filter(series__run=run)
    # As text: NaN equals itself.
    known = {
        (key, step, repr(value))
        for key, step, value in stored.values_list("series__key", "step", "value").iterator()
    }
    numbers = [
        index
        for index, (number, step, value) in enumerate(
            zip(points.key_numbers, points.steps, points.values, strict=True)
        )
        if (points.distinct_keys[number - 1], step, repr(value)) not in known
    ]
    return _selected(points, numbers)


def _in_batches(points: Points) -> Iterator[Points]:
    """In the order of their steps, so that most are appended to their series."""
    order = np.lexsort((points.timestamps_ms, points.steps))
    for start in range(0, len(order), POINTS_PER_BATCH):
        yield _selected(points, order[start : start + POINTS_PER_BATCH].tolist())


def _selected(points: Points, numbers: list[int]) -> Points:
    return Points.in_columns(
        [points.distinct_keys[points.key_numbers[number] - 1] for number in numbers],
        [points.steps[number] for number in numbers],
        [points.timestamps_ms[number] for number in numbers],
        [points.values[number] for number in numbers],
    )


def _settle(run: Run, past: PastRun) -> None:
    """Set what follows from the points: progress, and when it ended."""
    run.refresh_from_db()
    if not run.is_terminal:
        return  # its script has continued it here
    if run.status != past.status:
        # It was still running when it was first brought in.
        unmanaged.report_status(run, RunStatus.RUNNING, by=None)
        unmanaged.report_status(run, past.status, by=None, finished_at=_moment(past.finished_at))
    total = past.total_steps or run.total_steps
    finished_at = _moment(past.finished_at)
    finished_at = max(finished_at, run.finished_at or finished_at)
    run.change(
        total_steps=total,
        progress=min(1.0, run.step / total) if total else 1.0,
        finished_at=finished_at,
        reported_at=finished_at,
    )


def reason_of(error: BadSource | DomainError | OSError) -> str:
    """What to tell the user about ``error``; BadSource alone names its file."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error.message) if isinstance(error, DomainError) else str(error)
