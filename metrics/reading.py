"""Read metrics: summaries, and series downsampled for charts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.numbers import MAX_BIGINT, MIN_BIGINT, json_numbers
from metrics import history_queries, series_queries, summary_queries
from metrics.bucket_queries import COARSER
from metrics.points import Point
from metrics.series_queries import StoredSeries
from runs.models import Run

# The range of a bigint.
FIRST_STEP, LAST_STEP = MIN_BIGINT, MAX_BIGINT


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Summary of a metric. ``minimum`` and ``maximum`` are None while every value is NaN."""

    key: str
    count: int
    minimum: float | None
    maximum: float | None
    last_step: int
    last_timestamp_ms: int
    last_value: float


@dataclass(frozen=True, slots=True)
class RunMetric:
    """The same of one of several runs, with the first steps of its extremes."""

    count: int
    minimum: float | None
    minimum_step: int | None
    maximum: float | None
    maximum_step: int | None
    last_step: int
    last_timestamp_ms: int
    last_value: float


class Bucket(msgspec.Struct, frozen=True, gc=False):  # thousands are made for a page of curves
    """Consecutive points drawn as one. ``minimum`` and ``maximum``, each with the first of its
    steps, are None if every value is NaN."""

    count: int
    minimum: float | None
    minimum_step: int | None
    maximum: float | None
    maximum_step: int | None
    first_step: int
    first_timestamp_ms: int
    first: float
    last_step: int
    last_timestamp_ms: int
    last: float


@dataclass(frozen=True, slots=True)
class Series:
    """A metric's curve: every point of the range if they fit, otherwise buckets, never both."""

    key: str
    points: list[Point] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Columns of plain JSON values: NaN and infinities are strings, missing values are null."""
        if self.buckets:
            return {
                "key": self.key,
                "exact": False,
                "steps": [bucket.first_step for bucket in self.buckets],
                "last_steps": [bucket.last_step for bucket in self.buckets],
                "minimum": json_numbers([bucket.minimum for bucket in self.buckets]),
                "maximum": json_numbers([bucket.maximum for bucket in self.buckets]),
                "first": json_numbers([bucket.first for bucket in self.buckets]),
                "last": json_numbers([bucket.last for bucket in self.buckets]),
            }
        return {
            "key": self.key,
            "exact": True,
            "steps": [point.step for point in self.points],
            "timestamps_ms": [point.timestamp_ms for point in self.points],
            "values": json_numbers([point.value for point in self.points]),
        }


def summaries(run: Run) -> list[MetricSummary]:
    """Every metric of ``run`` that has points, by key. Reads no points."""
    return [
        MetricSummary(
            key=row.key,
            count=row.count,
            minimum=row.minimum,
            maximum=row.maximum,
            last_step=row.last_step,
            last_timestamp_ms=row.last_timestamp_ms,
            last_value=row.last_value,
        )
        for row in run.series.filter(count__gt=0).order_by("key")
        if row.last_step is not None
        and row.last_timestamp_ms is not None
        and row.last_value is not None
    ]


def run_metrics(run_ids: Iterable[str], keys: Iterable[str]) -> dict[str, dict[str, RunMetric]]:
    """What the ``keys`` came to in each of the runs: run -> key -> metric. One query."""
    valid_keys = [key for key in keys if "\x00" not in key]  # PostgreSQL rejects NUL in text
    found: dict[str, dict[str, RunMetric]] = {}
    for run_id, key, *fields in summary_queries.run_metrics(list(run_ids), valid_keys):
        found.setdefault(run_id, {})[key] = RunMetric(*fields)
    return found


def series(
    run_id: str,
    keys: Iterable[str],
    *,
    max_points: int,
    from_step: int | None = None,
    to_step: int | None = None,
    by_time: bool = False,
) -> list[Series]:
    """The curves of the ``keys`` that the run has, by key, within the steps (inclusive).

    A curve of more than ``max_points`` points is returned as at most ``max_points`` buckets, each
    an equal span of steps (of time if ``by_time``), so no spike is lost. One query reads all short
    curves; each long one takes one or two.
    """
    low = max(FIRST_STEP, FIRST_STEP if from_step is None else from_step)
    high = min(LAST_STEP, LAST_STEP if to_step is None else to_step)
    valid_keys = [key for key in keys if "\x00" not in key]  # PostgreSQL rejects NUL in text
    rows = series_queries.stored_series(run_id, valid_keys)
    short = _points_of([row for row in rows if row.count <= max_points], low, high)
    return [
        Series(row.key, points=short.get(row.id, []))
        if row.count <= max_points
        else _long(row, low, high, max_points, by_time=by_time)
        for row in rows
    ]


def _points_of(rows: list[StoredSeries], low: int, high: int) -> dict[int, list[Point]]:
    keys = {row.id: row.key for row in rows}
    points: dict[int, list[Point]] = {row.id: [] for row in rows}
    if rows:
        for series_id, step, timestamp_ms, value in series_queries.points(list(keys), low, high):
            points[series_id].append(Point(keys[series_id], step, value, timestamp_ms))
    return points


def _long(row: StoredSeries, low: int, high: int, max_points: int, *, by_time: bool) -> Series:
    """``row`` has too many points, but those between ``low`` and ``high`` may be few enough."""
    if (low, high) != (FIRST_STEP, LAST_STEP):
        points = [
            Point(row.key, step, value, timestamp_ms)
            for _id, step, timestamp_ms, value in series_queries.points(
                [row.id], low, high, limit=max_points + 1
            )
        ]
        if len(points) <= max_points:
            return Series(row.key, points=points)
    rows = series_queries.series_buckets(
        row.id,
        from_step=low,
        to_step=high,
        buckets=max_points,
        by_time=by_time,
        **_stored_buckets(row, low, high, max_points),
    )
    return Series(row.key, buckets=[Bucket(*fields) for fields in rows])


def _stored_buckets(row: StoredSeries, low: int, high: int, max_points: int) -> dict[str, int]:
    """Which of the series' buckets to read between ``low`` and ``high``: the coarsest size of which
    there are enough; {} to read the points instead."""
    if row.bucket_shift is None or row.bucketed_below is None:
        return {}
    if row.bucketed_from is not None:
        low = max(low, row.bucketed_from)
    below = min(row.bucketed_below, high + 1)
    for shift in (
        *(row.bucket_shift + more for more in reversed(COARSER)),
        row.bucket_shift,
    ):
        # Only whole buckets; the edges of the range are read from the points.
        buckets_from = -(-low >> shift) << shift
        buckets_below = below >> shift << shift
        if (buckets_below - buckets_from) >> shift >= max(1, max_points // 2):
            return {"shift": shift, "buckets_from": buckets_from, "buckets_below": buckets_below}
    return {}


# Except for -Infinity at the first step and timestamp, which clients do not log.
BEFORE_ALL = (FIRST_STEP, FIRST_STEP, -math.inf)


def history(
    run_id: str, key: str, *, after: tuple[int, int, float] = BEFORE_ALL, limit: int
) -> list[tuple[int, int, float]]:
    """The next points (step, timestamp_ms, value) of a metric after ``after``, in that order."""
    return history_queries.history(run_id, key, after=after, limit=limit)
