"""The one way in: metrics, log lines and progress of a run, whoever reports them.

Every function here is called with the run's row locked (``Run.objects.lock`` or ``lock_held_by``),
inside the transaction that also records what the caller has read so far. So a batch is there
whole or not at all, in order, and once; and the run's own row, which lists read, never lags.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from runs import log_blocks, queries
from runs.models import LogLevel, MetricSeries, Run

MAX_MESSAGE_LENGTH = 32_000  # characters of one log line
MAX_KEY_LENGTH = 250  # as the field's clients keep to
GPU_UTILIZATION = "gpu_utilization"  # a share of 1; shown on the run itself


@dataclass(frozen=True, slots=True)
class Point:
    key: str
    step: int
    value: float  # NaN and the infinities are values
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Line:
    message: str
    level: str = LogLevel.INFO
    source: str = ""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    rank: int | None = None


def record_metrics(run: Run, points: Sequence[Point]) -> None:
    """Store ``points`` and bring the run's latest values up to date. Repeated points count once."""
    if not points:
        return
    series_ids = _series_ids(run, {point.key for point in points})
    latest = queries.insert_points(
        [series_ids[point.key] for point in points],
        [point.step for point in points],
        [point.timestamp_ms for point in points],
        [point.value for point in points],
    )
    changes: dict[str, Any] = {
        "metrics": run.metrics | {key: json_number(value) for key, value in latest.items()}
    }
    utilization = latest.get(GPU_UTILIZATION)
    if utilization is not None and math.isfinite(utilization):
        changes["gpu_utilization"] = utilization
    run.change(**changes)


def _series_ids(run: Run, keys: set[str]) -> dict[str, int]:
    """The series of each key, made where there is none; the run's lock keeps them single."""
    known = dict(run.series.filter(key__in=keys).values_list("key", "id"))
    missing = [MetricSeries(run=run, key=key) for key in sorted(keys - known.keys())]
    for series in MetricSeries.objects.bulk_create(missing):
        known[series.key] = series.pk
    return known


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
    taken_back = queries.delete_points_after(run.pk, to_step)
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


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(message: str) -> str:
    """What PostgreSQL can keep of ``message``: no NUL, no half of a surrogate pair, not endless."""
    message = message[:MAX_MESSAGE_LENGTH]
    if message.isascii() and "\x00" not in message:  # most are
        return message
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", message)
