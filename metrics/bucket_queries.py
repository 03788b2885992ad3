"""SQL for pre-aggregating a series' points into buckets: see metrics/buckets.py."""

from __future__ import annotations

from typing import Final

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
