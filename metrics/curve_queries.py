"""SQL that reads many curves at once: their series, and their buckets and points in columns.

A row for each bucket would take longer to turn into Python objects than to read: there is one row
for each series, and its columns are arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from core.database import Bigints, Statement, Texts

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoredCurve:
    """What there is of a series to read: see metrics.models.MetricSeries."""

    id: int
    run_id: str
    key: str
    count: int
    last_step: int
    last_timestamp_ms: int
    last_value: float
    bucket_shift: int | None
    bucketed_below: int | None
    bucketed_count: int
    first_step: int


STORED_CURVES: Final = Statement("""
SELECT
    id, run_id, key, count, last_step, last_timestamp_ms, last_value,
    bucket_shift, bucketed_below, bucketed_count,
    -- Late points may come before the first bucket only where there is none yet.
    coalesce(
        (
            SELECT first_step
            FROM metrics_metricbucket
            WHERE series_id = series.id AND shift = series.bucket_shift
            ORDER BY number
            LIMIT 1
        ),
        (
            SELECT step
            FROM metrics_metricpoint
            WHERE series_id = series.id
            ORDER BY step
            LIMIT 1
        ),
        last_step
    )
FROM metrics_metricseries AS series
WHERE run_id = ANY(%(run_ids)s::text[]) AND key = ANY(%(keys)s::text[]) AND count > 0
ORDER BY run_id, key
""")


def stored_curves(run_ids: list[str], keys: list[str]) -> list[StoredCurve]:
    """The series of ``keys`` that the runs have points of, by run and key."""
    rows = STORED_CURVES.rows(run_ids=Texts(run_ids), keys=Texts(keys))
    return [StoredCurve(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a series to read."""

    series_id: int
    low: int
    high: int  # inclusive
    shift: int = 0  # of the buckets to read


POINT_COLUMNS: Final = Statement("""
SELECT series_id, steps, times, values
FROM
    unnest(%(series_ids)s::bigint[], %(lows)s::bigint[], %(highs)s::bigint[])
        AS span (series_id, low, high),
    LATERAL (
        SELECT
            array_agg(step) AS steps, array_agg(timestamp_ms) AS times, array_agg(value) AS values
        FROM (
            SELECT step, timestamp_ms, value
            FROM metrics_metricpoint AS point
            WHERE point.series_id = span.series_id AND step BETWEEN low AND high
            ORDER BY step, timestamp_ms, value
            LIMIT %(limit)s::bigint
        ) AS ordered
    ) AS columns
""")


def point_columns(spans: list[Span], *, limit: int) -> dict[int, tuple[Numbers, ...]]:
    """Steps, times and values of the first ``limit`` points of each span, in order."""
    if not spans:
        return {}
    rows = POINT_COLUMNS.array_rows(
        series_ids=Bigints(span.series_id for span in spans),
        lows=Bigints(span.low for span in spans),
        highs=Bigints(span.high for span in spans),
        limit=limit,
    )
    return {int(series_id): tuple(columns) for series_id, *columns in rows}


BUCKET_COLUMNS: Final = Statement("""
SELECT
    series_id, counts, minimums, minimum_steps, maximums, maximum_steps,
    first_steps, first_times, last_steps, last_times, last_values
FROM
    unnest(
        %(series_ids)s::bigint[], %(shifts)s::bigint[], %(lows)s::bigint[], %(highs)s::bigint[]
    ) AS span (series_id, shift, low, high),
    LATERAL (
        SELECT
            array_agg(count) AS counts,
            array_agg(coalesce(minimum, 'NaN')) AS minimums,
            array_agg(coalesce(minimum_step, first_step)) AS minimum_steps,
            array_agg(coalesce(maximum, 'NaN')) AS maximums,
            array_agg(coalesce(maximum_step, first_step)) AS maximum_steps,
            array_agg(first_step) AS first_steps,
            array_agg(first_timestamp_ms) AS first_times,
            array_agg(last_step) AS last_steps,
            array_agg(last_timestamp_ms) AS last_times,
            array_agg(last_value) AS last_values
        FROM (
            SELECT *
            FROM metrics_metricbucket AS bucket
            WHERE bucket.series_id = span.series_id AND bucket.shift = span.shift::smallint
                AND number BETWEEN low >> span.shift::integer AND high >> span.shift::integer
            ORDER BY number
        ) AS ordered
    ) AS columns
""")


def bucket_columns(spans: list[Span]) -> dict[int, tuple[Numbers, ...]]:
    """The stored buckets of each span's ``shift`` that overlap it, in order: count, minimum, its
    step, maximum, its step, first step, its time, last step, its time, last value. Minimum and
    maximum are NaN if every value is."""
    if not spans:
        return {}
    rows = BUCKET_COLUMNS.array_rows(
        series_ids=Bigints(span.series_id for span in spans),
        shifts=Bigints(span.shift for span in spans),
        lows=Bigints(span.low for span in spans),
        highs=Bigints(span.high for span in spans),
    )
    return {int(series_id): tuple(columns) for series_id, *columns in rows}
