"""Reading metrics: summaries, and series thinned to what a chart can show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Min

from runs import bucket_queries, queries
from runs.ingestion import json_number
from runs.models import MetricPoint, MetricSeries, Run

# What a bigint holds: "from the first step" and "to the last".
FIRST_STEP = bucket_queries.FIRST_STEP
LAST_STEP = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric at a glance. ``minimum``, ``maximum`` are None while every value was NaN."""

    key: str
    count: int
    minimum: float | None
    maximum: float | None
    last_step: int
    last_timestamp_ms: int
    last_value: float


@dataclass(frozen=True, slots=True)
class Point:
    step: int
    timestamp_ms: int  # Unix time
    value: float  # NaN and the infinities are values


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbouring points drawn as one; ``minimum`` and ``maximum``, with the first of their steps,
    are None if all were NaN."""

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
    """A metric's curve: every point of the range if they fit, otherwise buckets; never both."""

    key: str
    points: list[Point] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Columns of plain JSON values: NaN and the infinities are texts, a missing one is null."""
        if self.buckets:
            return {
                "key": self.key,
                "exact": False,
                "steps": [bucket.first_step for bucket in self.buckets],
                "last_steps": [bucket.last_step for bucket in self.buckets],
                "minimum": [_json(bucket.minimum) for bucket in self.buckets],
                "maximum": [_json(bucket.maximum) for bucket in self.buckets],
                "first": [_json(bucket.first) for bucket in self.buckets],
                "last": [_json(bucket.last) for bucket in self.buckets],
            }
        return {
            "key": self.key,
            "exact": True,
            "steps": [point.step for point in self.points],
            "timestamps_ms": [point.timestamp_ms for point in self.points],
            "values": [_json(point.value) for point in self.points],
        }


def _json(value: float | None) -> float | str | None:
    return None if value is None else json_number(value)


def summaries(run: Run) -> list[MetricSummary]:
    """Every metric of ``run`` that has a point, by key. Reads no point."""
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


def series(
    run: Run,
    keys: Iterable[str],
    *,
    max_points: int,
    from_step: int | None = None,
    to_step: int | None = None,
    by_time: bool = False,
) -> list[Series]:
    """The curves of those of ``keys`` that ``run`` has, by key, of the steps from … to (inclusive).

    A curve of more than ``max_points`` points comes as at most ``max_points`` buckets, each of an
    equal span of steps (of time if ``by_time``), in which no spike is lost. One query reads all
    short curves, and each long one takes one or two.
    """
    low = max(FIRST_STEP, FIRST_STEP if from_step is None else from_step)
    high = min(LAST_STEP, LAST_STEP if to_step is None else to_step)
    wanted = [key for key in keys if "\x00" not in key]  # PostgreSQL's text holds no NUL
    rows = list(run.series.filter(key__in=wanted, count__gt=0).order_by("key"))
    short = _points_of([row for row in rows if row.count <= max_points], low, high)
    return [
        Series(row.key, points=short.get(row.pk, []))
        if row.count <= max_points
        else _long(row, low, high, max_points, by_time=by_time)
        for row in rows
    ]


def _points_of(rows: list[MetricSeries], low: int, high: int) -> dict[int, list[Point]]:
    found: dict[int, list[Point]] = {row.pk: [] for row in rows}
    if rows:
        for series_id, step, timestamp_ms, value in _rows(list(found), low, high):
            found[series_id].append(Point(step, timestamp_ms, value))
    return found


def _rows(series_ids: list[int], low: int, high: int) -> Any:
    return (
        MetricPoint.objects.filter(series_id__in=series_ids, step__gte=low, step__lte=high)
        .order_by("series_id", "step", "timestamp_ms", "value")
        .values_list("series_id", "step", "timestamp_ms", "value")
    )


def _long(row: MetricSeries, low: int, high: int, max_points: int, *, by_time: bool) -> Series:
    """``row`` has too many points; those between ``low`` and ``high`` may still be few enough."""
    if (low, high) != (FIRST_STEP, LAST_STEP):
        points = [Point(*rest) for _id, *rest in _rows([row.pk], low, high)[: max_points + 1]]
        if len(points) <= max_points:
            return Series(row.key, points=points)
    found = bucket_queries.series_buckets(
        row.pk,
        from_step=low,
        to_step=high,
        buckets=max_points,
        by_time=by_time,
        **_summed_up(row, low, high, max_points),
    )
    return Series(row.key, buckets=[Bucket(*bucket) for bucket in found])


def _summed_up(row: MetricSeries, low: int, high: int, max_points: int) -> dict[str, int]:
    """From which of the series' buckets its points between ``low`` and ``high`` are read: the
    coarsest of which there are enough; {} for none, the points themselves."""
    if row.bucket_shift is None or row.bucketed_below is None:
        return {}
    first_step = row.buckets.filter(shift=row.bucket_shift).aggregate(first=Min("first_step"))
    low = low if first_step["first"] is None else max(low, first_step["first"])
    below = min(row.bucketed_below, high + 1)
    for shift in (
        *(row.bucket_shift + more for more in reversed(bucket_queries.COARSER)),
        row.bucket_shift,
    ):
        # Whole buckets alone; a range's edges are read from the points.
        summed_from = -(-low >> shift) << shift
        summed_below = below >> shift << shift
        if (summed_below - summed_from) >> shift >= max(1, max_points // 2):
            return {"shift": shift, "summed_from": summed_from, "summed_below": summed_below}
    return {}


BEFORE_ALL = (FIRST_STEP, FIRST_STEP, -math.inf)  # nearly: nobody logs -inf at the first of steps


def history(
    run_id: str, key: str, *, after: tuple[int, int, float] = BEFORE_ALL, limit: int
) -> list[tuple[int, int, float]]:
    """The next points (step, timestamp_ms, value) of a metric behind ``after``, in that order."""
    return queries.history(run_id, key, after=after, limit=limit)
