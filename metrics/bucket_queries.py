"""SQL for pre-aggregating a series' points into buckets: see metrics/buckets.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from core.database import Bigints, Statement
from core.numbers import MIN_BIGINT

COARSER: Final = (3, 6, 9)  # added to a series' shift: buckets of 8, 64, 512 times as many steps
COARSER_VALUES: Final = ", ".join(f"({more})" for more in COARSER)

# Common table expressions that aggregate the relation ``source`` (series_id, shift, step,
# timestamp_ms, value) into buckets.
AGGREGATED: Final = f"""
    fine AS (
        SELECT
            series_id, shift, number, count,
            minimum, steps[array_position(values, minimum)] AS minimum_step,
            maximum, steps[array_position(values, maximum)] AS maximum_step,
            steps[1] AS first_step, times[1] AS first_timestamp_ms, values[1] AS first_value,
            steps[count] AS last_step, times[count] AS last_timestamp_ms,
            values[count] AS last_value
        FROM (
            SELECT
                series_id, shift, step >> shift AS number, count(*)::integer AS count,
                min(value) FILTER (WHERE value <> 'NaN') AS minimum,
                max(value) FILTER (WHERE value <> 'NaN') AS maximum,
                array_agg(step ORDER BY step, timestamp_ms, value) AS steps,
                array_agg(timestamp_ms ORDER BY step, timestamp_ms, value) AS times,
                array_agg(value ORDER BY step, timestamp_ms, value) AS values
            FROM source
            GROUP BY series_id, shift, step >> shift
        ) AS grouped
    ), coarse AS (
        SELECT
            series_id, (shift + more)::smallint, number >> more, sum(count)::bigint,
            min(minimum),
            (array_agg(minimum_step ORDER BY minimum, minimum_step))[1],
            max(maximum),
            (array_agg(maximum_step ORDER BY maximum DESC NULLS LAST, maximum_step))[1],
            (array_agg(first_step ORDER BY number))[1],
            (array_agg(first_timestamp_ms ORDER BY number))[1],
            (array_agg(first_value ORDER BY number))[1],
            (array_agg(last_step ORDER BY number DESC))[1],
            (array_agg(last_timestamp_ms ORDER BY number DESC))[1],
            (array_agg(last_value ORDER BY number DESC))[1]
        FROM fine, (VALUES {COARSER_VALUES}) AS level (more)
        GROUP BY series_id, shift, more, number >> more
    ), bucketed AS (
        INSERT INTO metrics_metricbucket AS old (
            series_id, shift, number, count, minimum, minimum_step, maximum, maximum_step,
            first_step, first_timestamp_ms, first_value, last_step, last_timestamp_ms, last_value
        )
        SELECT * FROM fine UNION ALL SELECT * FROM coarse
        ON CONFLICT (series_id, shift, number) DO UPDATE SET
            count = old.count + excluded.count,
            minimum = least(old.minimum, excluded.minimum),
            minimum_step = CASE
                WHEN excluded.minimum >= old.minimum THEN old.minimum_step
                ELSE coalesce(excluded.minimum_step, old.minimum_step)
            END,
            maximum = greatest(old.maximum, excluded.maximum),
            maximum_step = CASE
                WHEN excluded.maximum <= old.maximum THEN old.maximum_step
                ELSE coalesce(excluded.maximum_step, old.maximum_step)
            END,
            (first_step, first_timestamp_ms, first_value) = (
                SELECT * FROM (VALUES
                    (old.first_step, old.first_timestamp_ms, old.first_value),
                    (excluded.first_step, excluded.first_timestamp_ms, excluded.first_value)
                ) AS both_firsts ORDER BY 1, 2, 3 LIMIT 1
            ),
            (last_step, last_timestamp_ms, last_value) = (
                SELECT * FROM (VALUES
                    (old.last_step, old.last_timestamp_ms, old.last_value),
                    (excluded.last_step, excluded.last_timestamp_ms, excluded.last_value)
                ) AS both_lasts ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1
            )
    )
"""  # noqa: S608  composed of constants

LOCK_RUN: Final = Statement("SELECT FROM runs_run WHERE id = %(run_id)s FOR NO KEY UPDATE")


def lock_run(run_id: str) -> None:
    """Lock the run's row against other writers until the transaction ends."""
    LOCK_RUN.run(run_id=run_id)


EXTEND_BUCKETS: Final = Statement(
    f"""
WITH chosen AS (
    SELECT
        series.*,
        coalesce(
            series.bucket_shift,
            least(%(max_shift)s::float8, greatest(0, round(log(
                2, %(points_per_bucket)s * (last_step::numeric - first.step + 1) / count
            ))))::smallint
        ) AS shift
    FROM
        metrics_metricseries AS series,
        LATERAL (
            SELECT min(step) AS step FROM metrics_metricpoint WHERE series_id = series.id
        ) AS first
    WHERE series.id = ANY(%(series_ids)s::bigint[]) AND count > 0
), extent AS (
    SELECT
        id AS series_id,
        shift,
        -- The newest bucket is still filling up; points that arrive below it later are late.
        greatest((last_step >> shift) << shift, bucketed_below) AS below,
        coalesce(bucketed_below, {MIN_BIGINT}) AS above
    FROM chosen
), source AS (
    -- OFFSET 0 forces an index range scan per series: a join might test its condition on every
    -- point of the series.
    SELECT extent.series_id, shift, step, timestamp_ms, value
    FROM
        extent,
        LATERAL (
            SELECT step, timestamp_ms, value
            FROM metrics_metricpoint
            WHERE series_id = extent.series_id AND step >= above AND step < below
            OFFSET 0
        ) AS point
), {AGGREGATED}, added AS (
    SELECT series_id, sum(count) AS count FROM fine GROUP BY series_id
)
UPDATE metrics_metricseries AS series
SET
    bucket_shift = extent.shift,
    bucketed_below = extent.below,
    bucketed_count = series.bucketed_count + coalesce(added.count, 0)
FROM extent LEFT JOIN added USING (series_id)
WHERE series.id = extent.series_id
"""  # noqa: S608  composed of constants
)


def extend_buckets(series_ids: list[int], *, points_per_bucket: int, max_shift: int) -> None:
    """Aggregate the points of these series, all of one run, that are in no bucket yet.

    A series without buckets gets the shift at which a bucket holds ``points_per_bucket`` points if
    their steps are evenly spaced. Call with the run's row locked in an earlier statement, so that
    this one sees every point.
    """
    EXTEND_BUCKETS.run(
        series_ids=Bigints(series_ids), points_per_bucket=points_per_bucket, max_shift=max_shift
    )


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
