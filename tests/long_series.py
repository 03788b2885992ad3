"""Store series of a million points in seconds: by COPY, with buckets as recording makes them."""

import io

import numpy as np
from django.db import connection

from core.numbers import json_number
from metrics import buckets
from metrics.models import MetricSeries
from runs.models import Run

START_MS = 1_700_000_000_000


def store(
    run: Run,
    key: str,
    values: np.ndarray,
    *,
    first_step: int = 0,
    start_ms: int = START_MS,
    ms_per_step: int = 100,
) -> MetricSeries:
    """A point at each step from ``first_step`` on."""
    finite = values[~np.isnan(values)]
    last_step = first_step + len(values) - 1
    series = MetricSeries.objects.create(
        run=run,
        key=key,
        count=len(values),
        minimum=float(finite.min()) if len(finite) else None,
        maximum=float(finite.max()) if len(finite) else None,
        last_step=last_step,
        last_timestamp_ms=start_ms + (len(values) - 1) * ms_per_step,
        last_value=float(values[-1]),
    )
    with connection.cursor() as cursor:
        _copy(cursor, series.pk, values, first_step, start_ms, ms_per_step)
    buckets.extend(run.pk, [series.pk])
    Run.objects.filter(pk=run.pk).update(
        metrics={**Run.objects.get(pk=run.pk).metrics, key: json_number(float(values[-1]))},
        step=last_step,
    )
    return series


ROW = np.dtype(
    [("fields", ">i2")]
    + [
        part
        for name, kind in (("series", ">i8"), ("step", ">i8"), ("ms", ">i8"), ("value", ">f8"))
        for part in ((f"{name}_length", ">i4"), (name, kind))
    ]
)


def _copy(cursor, series_id, values, first_step, start_ms, ms_per_step) -> None:
    """PostgreSQL's binary COPY format: a header, rows of fields each after its length, an end."""
    rows = np.empty(len(values), dtype=ROW)
    rows["fields"] = 4
    for name in ("series", "step", "ms", "value"):
        rows[f"{name}_length"] = 8
    numbers = np.arange(len(values))
    rows["series"] = series_id
    rows["step"] = first_step + numbers
    rows["ms"] = start_ms + numbers * ms_per_step
    rows["value"] = values
    content = io.BytesIO()
    content.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
    content.write(rows.tobytes())
    content.write(b"\xff\xff")
    statement = (
        "COPY metrics_metricpoint (series_id, step, timestamp_ms, value) FROM STDIN (FORMAT binary)"
    )
    with cursor.copy(statement) as copy:
        copy.write(content.getvalue())
