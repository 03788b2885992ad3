"""The one way in: metrics, log lines and progress of a run, whoever reports them.

A batch is there whole or not at all, in order, and once; and the run's own row, which lists read,
never lags. ``record_points`` locks the run by itself. The others are called with its row locked
(``Run.objects.lock`` or ``lock_held_by``), inside the transaction that also records what the caller
has read so far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import connection
from django.utils.translation import gettext as _

from runs import buckets, log_blocks, point_queries
from runs.models import LogLevel, MetricSeries, Run
from runs.points import UNSTORABLE, Point, Points
from trainhub.exceptions import InvalidInput

MAX_SERIES = 10_000  # metrics of one run
MAX_MESSAGE_LENGTH = 32_000  # characters of one log line
GPU_UTILIZATION = "gpu_utilization"  # a share of 1; shown on the run itself


@dataclass(frozen=True, slots=True)
class Line:
    message: str
    level: str = LogLevel.INFO
    source: str = ""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    rank: int | None = None


class RunGone(Exception):
    """There is no such run, or it is in the trash, which takes nothing."""


class TooManyMetrics(InvalidInput):
    """Every list of runs shows their latest values: a run's row has to stay readable."""

    code = "too_many_metrics"


def record_points(run_id: str, points: Points, *, project_id: str | None = None) -> None:
    """Store ``points`` and bring the run's latest values up to date; repeated ones count once.

    When this returns outside a transaction, they are on disk. Raises RunGone, also for a run of
    another project than ``project_id``, if that is given; TooManyMetrics.
    """
    if not points:
        return
    recorded = _record(run_id, points, project_id)
    if recorded.run_exists and not recorded.series_exist:
        _make_series(run_id, points.distinct_keys)
        recorded = _record(run_id, points, project_id)
    if not (recorded.run_exists and recorded.series_exist):
        raise RunGone(run_id)
    if recorded.unbucketed:
        buckets.extend(run_id, recorded.unbucketed)


def _record(run_id: str, points: Points, project_id: str | None) -> point_queries.Recorded:
    bucket_from = buckets.WANTED_FROM
    if points.are_distinct():
        recorded = point_queries.append_points(
            run_id, points, project_id=project_id, bucket_from=bucket_from
        )
        if recorded.are_newest or not recorded.series_exist:
            return recorded
    return point_queries.merge_points(
        run_id, points, project_id=project_id, bucket_from=bucket_from
    )


def _make_series(run_id: str, keys: list[str]) -> None:
    known = MetricSeries.objects.filter(run=run_id)
    if known.count() + len(keys) > MAX_SERIES:
        new = len(keys) - known.filter(key__in=keys).count()
        if known.count() + new > MAX_SERIES:
            raise TooManyMetrics(
                _("A run may have %(limit)d metrics at most.") % {"limit": MAX_SERIES}
            )
    point_queries.make_series(run_id, keys)


def record_metrics(run: Run, points: Sequence[Point]) -> None:
    """As ``record_points``, for a run at hand, which then knows its latest values."""
    if points:
        record_points(run.pk, Points.of(points))
        run.refresh_from_db(fields=["metrics", "gpu_utilization", "reported_at", "updated_at"])


def append_log(run: Run, lines: Sequence[Line]) -> None:
    """Append ``lines``; they get the run's next numbers."""
    if not lines:
        return
    stored = [
        log_blocks.Stored(
            line.timestamp, line.level, storable(line.source), line.rank, storable(line.message)
        )
        for line in lines
    ]
    run_id, first = run.pk, run.log_count + 1
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY runs_logline (run_id, seq, timestamp, level, source, rank, message) FROM STDIN"
        ) as copy,
    ):
        for seq, row in enumerate(stored, first):
            copy.write_row((run_id, seq, *row))
    log_blocks.summarize(run, stored)
    run.change(log_count=run.log_count + len(lines), reported_at=datetime.now(UTC))


def report_progress(run: Run, *, step: int, total_steps: int | None) -> None:
    """Say how far the run is. A step beyond the total, or none at all, is shown as it is."""
    share = min(1.0, step / total_steps) if total_steps else run.progress
    run.change(step=step, total_steps=total_steps, progress=share)


def rewind(run: Run, to_step: int) -> int:
    """Take back the points after ``to_step``: the next attempt makes them again.

    Returns how many there were. Log lines stay: they were printed.
    """
    taken_back = point_queries.delete_points_after(run.pk, to_step)
    latest = {
        series.key: json_number(series.last_value)
        for series in run.series.exclude(last_value=None)
        if series.last_value is not None
    }
    run.change(metrics=latest)
    report_progress(run, step=to_step, total_steps=run.total_steps)
    return taken_back


def json_number(value: float) -> float | str:
    """JSON has no NaN and no infinities: they travel as the texts NaN, Infinity, -Infinity."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def storable(message: str) -> str:
    """What PostgreSQL can keep of ``message``: no NUL, no half of a surrogate pair, not endless."""
    message = message[:MAX_MESSAGE_LENGTH]
    if message.isascii() and "\x00" not in message:  # most are
        return message
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", message)
