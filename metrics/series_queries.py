"""SQL that reads a curve: its series, its points, and its buckets (metrics/buckets.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from core.database import Bigints, Statement


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """What there is of a series to read: see metrics.models.MetricSeries."""

    id: int
    key: str
    count: int
    bucket_shift: int | None
    bucketed_from: int | None  # the first step of its first bucket
    bucketed_below: int | None


# The first bucket by number, which is indexed: the least of all first steps would be looked for in
# every bucket.
STORED_SERIES: Final = Statement("""
SELECT
    id, key, count, bucket_shift,
    (
        SELECT first_step
        FROM metrics_metricbucket
        WHERE series_id = series.id AND shift = series.bucket_shift
        ORDER BY number
        LIMIT 1
    ),
    bucketed_below
FROM metrics_metricseries AS series
WHERE run_id = %(run_id)s::text AND key = ANY(%(keys)s::text[]) AND count > 0
ORDER BY key
""")


def stored_series(run_id: str, keys: list[str]) -> list[StoredSeries]:
    """The series of ``keys`` that have points, by key."""
    return [StoredSeries(*row) for row in STORED_SERIES.rows(run_id=run_id, keys=keys)]


POINTS: Final = Statement("""
SELECT series_id, step, timestamp_ms, value
FROM metrics_metricpoint
WHERE series_id = ANY(%(series_ids)s::bigint[])
    AND step BETWEEN %(from_step)s::bigint AND %(to_step)s::bigint
ORDER BY series_id, step, timestamp_ms, value
LIMIT %(limit)s::bigint
""")


def points(
    series_ids: list[int], from_step: int, to_step: int, *, limit: int | None = None
) -> list[tuple[int, int, int, float]]:
    """The points (series_id, step, timestamp_ms, value) of each series, in order."""
    return POINTS.rows(
        series_ids=Bigints(series_ids), from_step=from_step, to_step=to_step, limit=limit
    )


SERIES_BUCKETS: Final = Statement("""
WITH stored AS (
    -- Where the buckets end now: the caller's row may be older than a rewind.
    SELECT least(%(buckets_below)s::bigint, bucketed_below) AS below
    FROM metrics_metricseries
    WHERE id = %(series_id)s
), point AS (
    -- Two index ranges: the points before the buckets and the points after them.
    SELECT step, timestamp_ms, value
    FROM metrics_metricpoint
    WHERE series_id = %(series_id)s
        AND step >= %(from_step)s::bigint AND step <= %(to_step)s::bigint
        AND step < %(buckets_from)s::bigint
    UNION ALL
    SELECT step, timestamp_ms, value
    FROM stored JOIN metrics_metricpoint ON
        series_id = %(series_id)s
        AND step >= greatest(%(from_step)s::bigint, %(buckets_from)s::bigint, stored.below)
        AND step <= %(to_step)s::bigint
), entry AS (
    SELECT
        1::bigint AS count,
        nullif(value, 'NaN') AS minimum,
        CASE WHEN value <> 'NaN' THEN step END AS minimum_step,
        nullif(value, 'NaN') AS maximum,
        CASE WHEN value <> 'NaN' THEN step END AS maximum_step,
        step AS first_step, timestamp_ms AS first_timestamp_ms, value AS first_value,
        step AS last_step, timestamp_ms AS last_timestamp_ms, value AS last_value
    FROM point
    UNION ALL
    SELECT
        count, minimum, minimum_step, maximum, maximum_step,
        first_step, first_timestamp_ms, first_value, last_step, last_timestamp_ms, last_value
    FROM metrics_metricbucket, stored
    WHERE series_id = %(series_id)s AND shift = %(shift)s::smallint
        AND number >= %(buckets_from)s::bigint >> %(shift)s::smallint
        AND number < stored.below >> %(shift)s::smallint
), placed AS (
    SELECT
        entry.*,
        CASE WHEN %(by_time)s THEN first_timestamp_ms ELSE first_step END AS place
    FROM entry
), numbered AS (
    SELECT
        placed.*,
        div(
            -- numeric: the difference of two bigints may overflow
            (place::numeric - min(place) OVER ()) * %(buckets)s,
            max(place) OVER () - min(place::numeric) OVER () + 1
        )::bigint AS bucket
    FROM placed
), merged AS (
    SELECT
        bucket,
        sum(count)::bigint AS count,
        min(minimum) AS minimum,
        array_agg(minimum ORDER BY place, first_step, first_timestamp_ms, first_value) AS minimums,
        array_agg(minimum_step ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS minimum_steps,
        max(maximum) AS maximum,
        array_agg(maximum ORDER BY place, first_step, first_timestamp_ms, first_value) AS maximums,
        array_agg(maximum_step ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS maximum_steps,
        array_agg(first_step ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS first_steps,
        array_agg(first_timestamp_ms ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS first_times,
        array_agg(first_value ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS first_values,
        array_agg(last_step ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS last_steps,
        array_agg(last_timestamp_ms ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS last_times,
        array_agg(last_value ORDER BY place, first_step, first_timestamp_ms, first_value)
            AS last_values
    FROM numbered
    GROUP BY bucket
)
SELECT
    count,
    minimum, minimum_steps[array_position(minimums, minimum)],
    maximum, maximum_steps[array_position(maximums, maximum)],
    first_steps[1], first_times[1], first_values[1],
    last_steps[cardinality(last_steps)], last_times[cardinality(last_steps)],
    last_values[cardinality(last_steps)]
FROM merged
ORDER BY bucket
""")


def series_buckets(
    series_id: int,
    *,
    from_step: int,
    to_step: int,
    buckets: int,
    by_time: bool = False,
    shift: int = 0,
    buckets_from: int = 0,
    buckets_below: int = 0,
) -> list[tuple[Any, ...]]:
    """At most ``buckets`` rows with the fields of reading.Bucket, of equal spans of steps or time.

    Every point is in one, so no spike is lost. Steps from ``buckets_from`` and below
    ``buckets_below`` (multiples of 2 ** shift) are read from the stored buckets of ``shift``, the
    others from the points. In SQL, so that a million points are not transferred to draw a thousand.
    """
    return SERIES_BUCKETS.rows(
        series_id=series_id,
        from_step=from_step,
        to_step=to_step,
        buckets=buckets,
        by_time=by_time,
        shift=shift,
        buckets_from=buckets_from,
        buckets_below=buckets_below,
    )
