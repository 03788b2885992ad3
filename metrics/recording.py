"""The only write path for metrics.

A batch is stored all or nothing, in order and idempotently, and the run's own row, which lists
read, is always up to date. ``record_points`` locks the run itself; batches that threads of a
process bring for one run at once, as ranks do, are stored together. Call the other functions with
its row locked (``Run.objects.lock`` or ``lock_held_by``), in the transaction that also records how
far the caller has read.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from django.db import connection

from core.exceptions import InvalidInput
from core.gates import Gate
from core.group_commit import GroupCommit
from core.messages import Message
from core.numbers import MIN_BIGINT, json_number
from metrics import buckets, point_queries
from metrics.models import MetricPoint, MetricSeries
from metrics.points import Point, Points
from runs.models import Run
from runs.progress import set_back

MAX_SERIES = 10_000  # metrics of one run
MAX_POINTS_TOGETHER = 10_000  # of several batches; a batch of its own may have more
GPU_UTILIZATION = "gpu_utilization"  # from 0 to 1; shown on the run itself

# A point without a time of its own has the time at which it was read.
INGESTION_DELAY_MS = 1000
# A value that is reported again with the same time is moved by a millisecond.
MAX_MOVED_MS = 1000


RECORDERS = Gate(share=0.5)  # of one run


class RunGone(Exception):
    """The run does not exist or is in the trash."""


class TooManyMetrics(InvalidInput):
    """A run's row holds the latest value of every metric and must stay fast to read."""

    code = "too_many_metrics"


def record_points(run_id: str, points: Points, *, project_id: str | None = None) -> None:
    """Store ``points`` and update the run's latest values; idempotent.

    Outside a transaction, the points are on disk when this returns. Raises TooManyMetrics, and
    DatabaseBusy and RunGone, also if the run does not belong to ``project_id``, if one is given.
    """
    if not points:
        return
    if connection.in_atomic_block:  # the caller has locked the run
        _store(run_id, points, project_id)
        return
    with RECORDERS.entering(run_id):
        _together.write((run_id, project_id), points, size=len(points))


def _store_together(run_and_project: tuple[str, str | None], batches: list[Points]) -> None:
    run_id, project_id = run_and_project
    _store(run_id, batches[0] if len(batches) == 1 else Points.joined(batches), project_id)


# Of one run, not of several: a run whose row somebody holds must not delay another's points.
_together = GroupCommit(_store_together, limit=MAX_POINTS_TOGETHER)


def _store(run_id: str, points: Points, project_id: str | None) -> None:
    recorded = _record(run_id, points, project_id)
    if recorded.run_exists and not recorded.series_exist:
        _create_series(run_id, points.distinct_keys)
        recorded = _record(run_id, points, project_id)
    if not (recorded.run_exists and recorded.series_exist):
        raise RunGone(run_id)
    if recorded.is_far:
        point_queries.set_far_step(run_id)
    if recorded.unbucketed:
        buckets.extend(run_id, recorded.unbucketed)


def _record(run_id: str, points: Points, project_id: str | None) -> point_queries.Recorded:
    min_unbucketed = buckets.MIN_UNBUCKETED
    if points.are_distinct():
        recorded = point_queries.append_points(
            run_id, points, project_id=project_id, min_unbucketed=min_unbucketed
        )
        if recorded.are_newest or not recorded.series_exist:
            return recorded
    return point_queries.merge_points(
        run_id, points, project_id=project_id, min_unbucketed=min_unbucketed
    )


def _create_series(run_id: str, keys: list[str]) -> None:
    known = MetricSeries.objects.filter(run=run_id)
    if known.count() + len(keys) > MAX_SERIES:
        new = len(keys) - known.filter(key__in=keys).count()
        if known.count() + new > MAX_SERIES:
            raise TooManyMetrics(
                Message("A run can have at most %(limit)d metrics.", limit=MAX_SERIES)
            )
    point_queries.create_series(run_id, keys)


def record_metrics(run: Run, points: Sequence[Point] | Points) -> None:
    """Like ``record_points``, but refresh the latest values of ``run`` too."""
    if points:
        record_points(run.pk, points if isinstance(points, Points) else Points.of(points))
        run.refresh_from_db(
            fields=[
                "metrics",
                "gpu_utilization",
                "step",
                "progress",
                "reported_at",
                "stepped_at",
                "updated_at",
            ]
        )


def in_order_of_report(run: Run, points: Sequence[Point]) -> list[Point]:
    """``points``, with times at which each is later than what was reported before with the same
    step and time: of several values, the last one counts."""
    series = run.series.filter(key__in={point.key for point in points}, last_step__isnull=False)
    columns = ("key", "last_step", "last_value", "last_timestamp_ms")
    latest = {row[0]: Point(*row) for row in series.values_list(*columns)}
    ordered = []
    for point in points:
        before = latest.get(point.key)
        if before is not None and _is_another_value(point, before):
            point = replace(point, timestamp_ms=before.timestamp_ms + 1)
        if before is None or (point.step, point.timestamp_ms) >= (before.step, before.timestamp_ms):
            latest[point.key] = point
        ordered.append(point)
    return ordered


def _is_another_value(point: Point, before: Point) -> bool:
    """Whether it is of the same step and time, which may have been moved a little."""
    delay_ms = before.timestamp_ms - point.timestamp_ms
    is_same = point.value == before.value or (math.isnan(point.value) and math.isnan(before.value))
    return point.step == before.step and 0 <= delay_ms <= MAX_MOVED_MS and not is_same


def without_known(run: Run, points: Sequence[Point]) -> list[Point]:
    """Those ``points`` whose value is not stored at their step, at whatever time."""
    stored = MetricPoint.objects.filter(
        series__run=run,
        series__key__in={point.key for point in points},
        step__in={point.step for point in points},
    )
    # As text: NaN equals itself.
    known = {
        (key, step, repr(value))
        for key, step, value in stored.values_list("series__key", "step", "value").iterator()
    }
    return [point for point in points if (point.key, point.step, repr(point.value)) not in known]


def step_at(run: Run, timestamp_ms: int) -> int:
    """The run's step at a time in the past, as its metrics tell; else its current step."""
    step = point_queries.last_step_at(run.pk, timestamp_ms + INGESTION_DELAY_MS)
    if step is None:
        run.refresh_from_db(fields=["step"])
        return run.step
    return max(0, step)


def rewind(run: Run, to_step: int) -> int:
    """Delete the points after ``to_step``, which the next attempt reports again. What it reports
    again of the steps up to there is ignored: see metrics/point_queries.py.

    Returns the number deleted. Log lines are kept: they were printed.
    """
    return _rewind(run, to_step, to_step)


def rewind_to_start(run: Run) -> int:
    """Delete all points, as the next attempt has no checkpoint of this run: it reports the step
    that the run starts from again, too."""
    return _rewind(run, MIN_BIGINT, run.start_step)


def _rewind(run: Run, last_kept: int, step: int) -> int:
    deleted = point_queries.rewind(run.pk, last_kept)
    _refresh_latest(run)
    set_back(run, step=step)
    return deleted


def delete_points(run: Run, points: Points) -> int:
    """Delete those of ``points`` that are stored; returns how many. The run keeps its step."""
    deleted = point_queries.delete_points(run.pk, points) if points else 0
    if deleted:
        _refresh_latest(run)
    return deleted


def forget_replayed(run: Run, keys: list[str], step: int) -> None:
    """The attempt reports these metrics again from ``step`` on, also at steps that earlier attempts
    had reached: what is stored of these counts as theirs."""
    point_queries.forget_replayed(run.pk, keys, step)


def _refresh_latest(run: Run) -> None:
    latest = {
        series.key: json_number(series.last_value)
        for series in run.series.exclude(last_value=None)
        if series.last_value is not None
    }
    run.change(metrics=latest)
