"""SQL beyond the ORM: one query a function, and why the ORM could not say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trainhub.database import Bigints, Doubles, Statement

if TYPE_CHECKING:
    from runs.points import Points

# --- points in -------------------------------------------------------------------------------

COARSER: Final = (3, 6, 9)  # added to a series' shift: buckets of 8, 64, 512 times as many steps
COARSER_VALUES: Final = ", ".join(f"({more})" for more in COARSER)

# What points sum up to. From: a relation ``source`` (series_id, shift, step, timestamp_ms, value).
SUMMED_UP: Final = f"""
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
        INSERT INTO runs_metricbucket AS old (
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
"""  # noqa: S608  put together of our own constants

IS_NEWER: Final = """
    (summary.step, summary.timestamp_ms, summary.value)
    > (series.last_step, series.last_timestamp_ms, series.last_value) IS NOT FALSE
"""

RECORD_POINTS: Final = Statement(
    f"""
WITH run AS MATERIALIZED (
    -- First of all, as everybody does who writes to a run.
    SELECT id FROM runs_run WHERE id = %(run_id)s AND deleted_at IS NULL FOR NO KEY UPDATE
), named AS MATERIALIZED (
    -- Locked, and so as they are now: this statement's snapshot may be older than its locks.
    -- Looked up one by one: the run may have thousands of others.
    SELECT series.id, names.number, series.bucket_shift, series.bucketed_below
    FROM
        run,
        unnest(%(keys)s::text[]) WITH ORDINALITY AS names (key, number),
        LATERAL (
            SELECT id, bucket_shift, bucketed_below
            FROM runs_metricseries
            WHERE run_id = run.id AND key = names.key
            FOR NO KEY UPDATE
        ) AS series
), batch_of AS MATERIALIZED (
    -- In arrays by the keys' numbers: a join of points and series, planned for lists of unknown
    -- length, might go through each list for each item of the other.
    SELECT
        array_agg(id ORDER BY number) AS ids,
        array_agg(bucket_shift ORDER BY number) AS shifts,
        array_agg(bucketed_below ORDER BY number) AS belows,
        max(bucketed_below) AS below
    FROM named
), new AS (
    INSERT INTO runs_metricpoint (series_id, step, timestamp_ms, value)
    SELECT ids[batch.number], batch.step, batch.timestamp_ms, batch.value
    FROM
        batch_of,
        unnest(
            %(key_numbers)s::bigint[], %(steps)s::bigint[], %(timestamps_ms)s::bigint[],
            %(values)s::float8[]
        ) AS batch (number, step, timestamp_ms, value)
    -- All or nothing: a series that is missing is made first, see MAKE_SERIES.
    WHERE cardinality(ids) = cardinality(%(keys)s::text[])
    ON CONFLICT DO NOTHING
    RETURNING series_id, step, timestamp_ms, value
), source AS (
    -- Late points: their neighbours are in buckets already.
    SELECT series_id, shifts[place] AS shift, step, timestamp_ms, value
    FROM (
        SELECT new.*, shifts, belows, array_position(ids, series_id) AS place
        FROM batch_of, new
        WHERE step < below
    ) AS candidate
    WHERE step < belows[place]
), summary AS (
    SELECT
        series_id,
        count(*) AS count,
        min(value) FILTER (WHERE value <> 'NaN') AS minimum,
        max(value) FILTER (WHERE value <> 'NaN') AS maximum,
        (array_agg(step ORDER BY step DESC, timestamp_ms DESC, value DESC))[1] AS step,
        (array_agg(timestamp_ms ORDER BY step DESC, timestamp_ms DESC, value DESC))[1]
            AS timestamp_ms,
        (array_agg(value ORDER BY step DESC, timestamp_ms DESC, value DESC))[1] AS value
    FROM new
    GROUP BY series_id
), updated AS (
    UPDATE runs_metricseries AS series
    SET
        count = series.count + summary.count,
        bucketed_count = series.bucketed_count
            + (SELECT count(*) FROM source WHERE source.series_id = series.id),
        minimum = least(series.minimum, summary.minimum),
        maximum = greatest(series.maximum, summary.maximum),
        last_step = CASE WHEN {IS_NEWER} THEN summary.step ELSE series.last_step END,
        last_timestamp_ms =
            CASE WHEN {IS_NEWER} THEN summary.timestamp_ms ELSE series.last_timestamp_ms END,
        last_value = CASE WHEN {IS_NEWER} THEN summary.value ELSE series.last_value END
    FROM summary
    WHERE series.id = summary.series_id
    RETURNING
        series.id, series.key, series.last_value, series.last_step,
        series.count - series.bucketed_count >= %(bucket_from)s AND (
            series.bucket_shift IS NULL
            -- Buckets have filled up since. Points that all are of one step fill none.
            OR (series.last_step >> series.bucket_shift) << series.bucket_shift
                > series.bucketed_below
        ) AS wants_buckets
), {SUMMED_UP}, latest AS (
    UPDATE runs_run AS run
    SET
        metrics = run.metrics || (SELECT jsonb_object_agg(key, last_value) FROM updated),
        gpu_utilization = coalesce(
            (
                SELECT last_value FROM updated
                WHERE key = 'gpu_utilization' AND last_value BETWEEN '-1e308' AND '1e308'
            ),
            run.gpu_utilization
        ),
        -- An executor says how far its run is; of a script started elsewhere this is what we know.
        step = CASE
            WHEN run.recipe_id IS NULL THEN greatest(run.step, (SELECT max(last_step) FROM updated))
            ELSE run.step
        END,
        reported_at = statement_timestamp(),
        updated_at = statement_timestamp()
    WHERE run.id = %(run_id)s AND EXISTS (SELECT FROM updated)
)
SELECT
    EXISTS (SELECT FROM run),
    coalesce((SELECT cardinality(ids) FROM batch_of), 0) = cardinality(%(keys)s::text[]),
    ARRAY(SELECT id FROM updated WHERE wants_buckets)
"""  # noqa: S608  put together of our own constants
)


def record_points(run_id: str, points: Points, *, bucket_from: int) -> tuple[bool, bool, list[int]]:
    """Insert the points not yet there; fold them into their series and the run's latest values.

    Returns whether the run exists; whether all series exist (if not, nothing was done); and the
    series that have ``bucket_from`` points or more in no bucket, and could have them in one.

    One statement: the batch is there whole or not at all, in one round trip, and only rows that
    were really inserted count, which the ORM cannot tell.
    """
    found = RECORD_POINTS.row(
        run_id=run_id,
        keys=points.distinct_keys,
        key_numbers=Bigints(points.key_numbers),
        steps=Bigints(points.steps),
        timestamps_ms=Bigints(points.timestamps_ms),
        values=Doubles(points.values),
        bucket_from=bucket_from,
    )
    assert found is not None
    exists, is_complete, unbucketed = found
    return exists, is_complete, unbucketed


RUN_OF_PROJECT: Final = Statement(
    "SELECT FROM runs_run WHERE id = %(run_id)s AND project_id = %(project_id)s"
)


def run_is_of_project(run_id: str, project_id: str) -> bool:
    return RUN_OF_PROJECT.row(run_id=run_id, project_id=project_id) is not None


MAKE_SERIES: Final = Statement("""
WITH run AS MATERIALIZED (
    SELECT id FROM runs_run WHERE id = %(run_id)s AND deleted_at IS NULL FOR NO KEY UPDATE
)
INSERT INTO runs_metricseries (run_id, key)
SELECT run.id, key FROM run, unnest(%(keys)s::text[]) AS key
ON CONFLICT DO NOTHING
""")


def make_series(run_id: str, keys: list[str]) -> None:
    """The series that are missing among ``keys``; two at once make each once. Of a run that is not
    there, or is in the trash, none."""
    MAKE_SERIES.run(run_id=run_id, keys=keys)


DELETE_POINTS_AFTER: Final = Statement(
    f"""
WITH gone AS (
    DELETE FROM runs_metricpoint point
    USING runs_metricseries series
    WHERE series.run_id = %(run_id)s AND point.series_id = series.id AND point.step > %(step)s
    RETURNING point.series_id
), affected AS (
    SELECT
        id AS series_id,
        bucket_shift AS shift,
        -- Of the coarsest buckets those stay that end before the points that are gone.
        least(
            bucketed_below,
            ((%(step)s::bigint + 1) >> (bucket_shift + {COARSER[-1]}))
                << (bucket_shift + {COARSER[-1]})
        ) AS below
    FROM runs_metricseries
    WHERE id IN (SELECT series_id FROM gone)
), emptied AS (
    DELETE FROM runs_metricbucket bucket
    USING affected
    WHERE bucket.series_id = affected.series_id AND bucket.first_step >= affected.below
), summary AS (
    SELECT
        affected.series_id,
        count(kept.value) AS count,
        count(kept.value) FILTER (WHERE kept.step < affected.below) AS bucketed_count,
        min(kept.value) FILTER (WHERE kept.value <> 'NaN') AS minimum,
        max(kept.value) FILTER (WHERE kept.value <> 'NaN') AS maximum
    FROM affected
    LEFT JOIN runs_metricpoint kept
        ON kept.series_id = affected.series_id AND kept.step <= %(step)s
    GROUP BY affected.series_id
), updated AS (
    UPDATE runs_metricseries series
    SET
        count = summary.count,
        minimum = summary.minimum,
        maximum = summary.maximum,
        bucketed_below = affected.below,
        bucketed_count = summary.bucketed_count,
        (last_step, last_timestamp_ms, last_value) = (
            SELECT point.step, point.timestamp_ms, point.value
            FROM runs_metricpoint point
            WHERE point.series_id = series.id AND point.step <= %(step)s
            ORDER BY point.step DESC, point.timestamp_ms DESC, point.value DESC
            LIMIT 1
        )
    FROM summary JOIN affected USING (series_id)
    WHERE series.id = summary.series_id
)
SELECT count(*) FROM gone
"""  # noqa: S608  put together of our own constants
)


def delete_points_after(run_id: str, step: int) -> int:
    """Delete the run's points after ``step``, summarize what is left; how many were deleted.

    One statement, so that no reader sees summaries of points that are gone. Call with the run's
    row locked in an earlier one.
    """
    gone = DELETE_POINTS_AFTER.row(run_id=run_id, step=step)
    assert gone is not None
    return int(gone[0])


# --- buckets ---------------------------------------------------------------------------------

LOCK_RUN: Final = Statement("SELECT FROM runs_run WHERE id = %(run_id)s FOR NO KEY UPDATE")


def lock_run(run_id: str) -> None:
    """Wait for whoever writes to the run, and keep others waiting until the transaction ends."""
    LOCK_RUN.run(run_id=run_id)


EXTEND_BUCKETS: Final = Statement(
    f"""
WITH chosen AS (
    SELECT
        series.*,
        coalesce(
            series.bucket_shift,
            least(%(max_shift)s::float8, greatest(0, round(log(
                2, %(points_a_bucket)s * (last_step::numeric - first.step + 1) / count
            ))))::smallint
        ) AS shift
    FROM
        runs_metricseries AS series,
        LATERAL (
            SELECT min(step) AS step FROM runs_metricpoint WHERE series_id = series.id
        ) AS first
    WHERE series.id = ANY(%(series_ids)s::bigint[]) AND count > 0
), extent AS (
    SELECT
        id AS series_id,
        shift,
        -- The newest bucket is still filling up; what falls below it later counts as late.
        greatest((last_step >> shift) << shift, bucketed_below) AS below,
        bucketed_below AS above
    FROM chosen
), source AS (
    SELECT series_id, shift, step, timestamp_ms, value
    FROM runs_metricpoint JOIN extent USING (series_id)
    WHERE step < below AND (above IS NULL OR step >= above)
), {SUMMED_UP}, summed AS (
    SELECT series_id, sum(count) AS count FROM fine GROUP BY series_id
)
UPDATE runs_metricseries AS series
SET
    bucket_shift = extent.shift,
    bucketed_below = extent.below,
    bucketed_count = series.bucketed_count + coalesce(summed.count, 0)
FROM extent LEFT JOIN summed USING (series_id)
WHERE series.id = extent.series_id
"""  # noqa: S608  put together of our own constants
)


def extend_buckets(series_ids: list[int], *, points_a_bucket: int, max_shift: int) -> None:
    """Sum up the points of these series of one run that are in no bucket yet.

    A series without buckets gets such a shift that ``points_a_bucket`` of its points fall into one,
    as far as they have come evenly. Call with the run's row locked in an earlier statement, so that
    this one sees every point.
    """
    EXTEND_BUCKETS.run(
        series_ids=Bigints(series_ids), points_a_bucket=points_a_bucket, max_shift=max_shift
    )


SERIES_BUCKETS: Final = Statement("""
WITH summed AS (
    -- As far as they reach by now: the caller's row may be of before a rewind.
    SELECT least(%(summed_below)s::bigint, bucketed_below) AS below
    FROM runs_metricseries
    WHERE id = %(series_id)s
), point AS (
    -- Two ranges of the index: what lies before the buckets, and what lies behind them.
    SELECT step, timestamp_ms, value
    FROM runs_metricpoint
    WHERE series_id = %(series_id)s
        AND step >= %(from_step)s::bigint AND step <= %(to_step)s::bigint
        AND step < %(summed_from)s::bigint
    UNION ALL
    SELECT step, timestamp_ms, value
    FROM summed JOIN runs_metricpoint ON
        series_id = %(series_id)s
        AND step >= greatest(%(from_step)s::bigint, %(summed_from)s::bigint, summed.below)
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
    FROM runs_metricbucket, summed
    WHERE series_id = %(series_id)s AND shift = %(shift)s::smallint
        AND number >= %(summed_from)s::bigint >> %(shift)s::smallint
        AND number < summed.below >> %(shift)s::smallint
), placed AS (
    SELECT
        entry.*,
        CASE WHEN %(by_time)s THEN first_timestamp_ms ELSE first_step END AS place
    FROM entry
), numbered AS (
    SELECT
        placed.*,
        div(
            -- numeric: the span of two bigints need not be one
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
    summed_from: int = 0,
    summed_below: int = 0,
) -> list[tuple[Any, ...]]:
    """At most ``buckets`` rows, the fields of metrics.Bucket, of equal spans of steps, or of time.

    Every point lies in one, so no spike is lost. Read from the summed-up buckets of ``shift`` for
    the steps from ``summed_from`` and below ``summed_below`` (multiples of 2 ** shift), for the
    rest from the points. In SQL, because a million points need not travel to make a thousand.
    """
    return SERIES_BUCKETS.rows(
        series_id=series_id,
        from_step=from_step,
        to_step=to_step,
        buckets=buckets,
        by_time=by_time,
        shift=shift,
        summed_from=summed_from,
        summed_below=summed_below,
    )


HISTORY: Final = Statement("""
SELECT step, timestamp_ms, value
FROM runs_metricpoint
WHERE series_id = (SELECT id FROM runs_metricseries WHERE run_id = %(run_id)s AND key = %(key)s)
    AND (step, timestamp_ms, value)
        > (%(step)s::bigint, %(timestamp_ms)s::bigint, %(value)s::float8)
ORDER BY step, timestamp_ms, value
LIMIT %(limit)s::bigint
""")


def history(
    run_id: str, key: str, *, after: tuple[int, int, float], limit: int
) -> list[tuple[int, int, float]]:
    """The next points (step, timestamp_ms, value) of a metric behind ``after``, in that order.

    Their place in the index is found by a row's comparison, whatever the depth.
    """
    step, timestamp_ms, value = after
    return HISTORY.rows(
        run_id=run_id, key=key, step=step, timestamp_ms=timestamp_ms, value=value, limit=limit
    )


POINTS_IN_COLUMNS: Final = Statement("""
SELECT
    series_id,
    array_agg(step ORDER BY step, timestamp_ms, value),
    array_agg(timestamp_ms ORDER BY step, timestamp_ms, value),
    array_agg(value ORDER BY step, timestamp_ms, value)
FROM (
    SELECT series_id, step, timestamp_ms, value
    FROM runs_metricpoint
    WHERE
        series_id = ANY(%(series_ids)s::bigint[])
        AND (series_id, step, timestamp_ms, value) > (
            %(series_id)s::bigint, %(step)s::bigint, %(timestamp_ms)s::bigint, %(value)s::float8
        )
    ORDER BY series_id, step, timestamp_ms, value
    LIMIT %(limit)s::bigint
) batch
GROUP BY series_id
ORDER BY series_id
""")


def points_in_columns(
    series_ids: list[int], *, after: tuple[int, int, int, float] | None, limit: int
) -> list[tuple[int, list[int], list[int], list[float]]]:
    """The next ``limit`` points of the series: (series id, steps, timestamps, values) of each.

    ``after``: the point that the previous batch ended with; None for the first. Columns, because a
    tuple for every point would take longer to make than the points to read.
    """
    series_id, step, timestamp_ms, value = after or (min(series_ids, default=0) - 1, 0, 0, 0.0)
    return POINTS_IN_COLUMNS.rows(
        series_ids=Bigints(series_ids),
        series_id=series_id,
        step=step,
        timestamp_ms=timestamp_ms,
        value=value,
        limit=limit,
    )
