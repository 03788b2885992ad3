"""SQL that takes points in and takes them back: one query a function, and why the ORM could not.

A batch is stored by one statement: it is there whole or not at all, and only rows that were really
inserted count, which the ORM cannot tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runs.bucket_queries import COARSER, SUMMED_UP
from trainhub.database import Bigints, Doubles, Statement

if TYPE_CHECKING:
    from runs.points import Points

# --- in --------------------------------------------------------------------------------------

# What the points of a series without any, or without buckets, are to follow. Not NULL: an array
# that holds one is read from its start for each of its elements.
LEAST: Final = -(2**63)

LOCKED: Final = f"""
    run AS MATERIALIZED (
        -- First of all, as everybody does who writes to a run.
        SELECT id
        FROM runs_run
        WHERE
            id = %(run_id)s AND deleted_at IS NULL
            AND project_id = coalesce(%(project_id)s::text, project_id)
        FOR NO KEY UPDATE
    ), named AS MATERIALIZED (
        -- Locked, and so as they are now: this statement's snapshot may be older than its locks.
        -- Looked up one by one: the run may have thousands of others.
        SELECT names.number, series.*
        FROM
            run,
            unnest(%(keys)s::text[]) WITH ORDINALITY AS names (key, number),
            LATERAL (
                SELECT
                    id, bucket_shift, bucketed_below, last_step, last_timestamp_ms, last_value
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
            array_agg(coalesce(bucketed_below, {LEAST}) ORDER BY number) AS belows,
            max(bucketed_below) AS below,
            array_agg(coalesce(last_step, {LEAST}) ORDER BY number) AS steps,
            array_agg(coalesce(last_timestamp_ms, {LEAST}) ORDER BY number) AS times,
            array_agg(coalesce(last_value, '-Infinity') ORDER BY number) AS values
        FROM named
    ), batch AS MATERIALIZED (
        SELECT
            ids[point.number] AS series_id, point.step, point.timestamp_ms, point.value,
            (point.step, point.timestamp_ms, point.value)
                > (steps[point.number], times[point.number], values[point.number])
                -- After a rewind buckets may reach further than the points that are left.
                AND point.step >= belows[point.number] AS is_newest
        FROM
            batch_of,
            unnest(
                %(key_numbers)s::bigint[], %(steps)s::bigint[], %(timestamps_ms)s::bigint[],
                %(values)s::float8[]
            ) AS point (number, step, timestamp_ms, value)
        -- All or nothing: a series that is missing is made first, see MAKE_SERIES.
        WHERE cardinality(ids) = cardinality(%(keys)s::text[])
    )
"""  # noqa: S608  put together of our own constants

IS_NEWER: Final = """
    (summary.step, summary.timestamp_ms, summary.value)
    > (series.last_step, series.last_timestamp_ms, series.last_value) IS NOT FALSE
"""


def folded(*, late: str = "0") -> str:
    """Fold the relation ``new`` into its series, of whose points ``late`` are in buckets, and into
    the run's latest values."""
    return f"""
    summary AS (
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
            bucketed_count = series.bucketed_count + {late},
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
    ), latest AS (
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
            -- An executor says how far its run is; of a script started elsewhere this is what we
            -- know.
            step = CASE
                WHEN run.recipe_id IS NULL
                THEN greatest(run.step, (SELECT max(last_step) FROM updated))
                ELSE run.step
            END,
            reported_at = statement_timestamp(),
            updated_at = statement_timestamp()
        WHERE run.id = %(run_id)s AND EXISTS (SELECT FROM updated)
    )
    SELECT
        EXISTS (SELECT FROM run),
        coalesce((SELECT cardinality(ids) FROM batch_of), 0) = cardinality(%(keys)s::text[]),
        coalesce((SELECT bool_and(is_newest) FROM batch), false),
        ARRAY(SELECT id FROM updated WHERE wants_buckets)
"""  # noqa: S608  put together of our own constants


APPEND_POINTS: Final = Statement(
    f"""
WITH {LOCKED}, new AS (
    INSERT INTO runs_metricpoint (series_id, step, timestamp_ms, value)
    SELECT series_id, step, timestamp_ms, value
    FROM batch
    WHERE (SELECT bool_and(is_newest) FROM batch)
    RETURNING series_id, step, timestamp_ms, value
), {folded()}
"""  # noqa: S608  put together of our own constants
)

MERGE_POINTS: Final = Statement(
    f"""
WITH {LOCKED}, new AS (
    INSERT INTO runs_metricpoint (series_id, step, timestamp_ms, value)
    SELECT series_id, step, timestamp_ms, value
    FROM batch
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
), {SUMMED_UP}, {folded(late="(SELECT count(*) FROM source WHERE series_id = series.id)")}
"""  # noqa: S608  put together of our own constants
)


class Recorded(NamedTuple):
    run_exists: bool  # and is of the project, if that matters
    series_exist: bool  # all of the batch's; if not, nothing was done
    are_newest: bool  # whether every point is beyond its series' points and buckets
    unbucketed: list[int]  # series that have enough points in no bucket for some


def append_points(
    run_id: str, points: Points, *, project_id: str | None, bucket_from: int
) -> Recorded:
    """Insert points that are beyond all that their series have, points and buckets, and distinct;
    unless they all are, nothing is done.

    So most points come, and no index has to be searched for them first: their series are locked.
    """
    return _record(APPEND_POINTS, run_id, points, project_id, bucket_from)


def merge_points(
    run_id: str, points: Points, *, project_id: str | None, bucket_from: int
) -> Recorded:
    """Insert those of the points that are not there yet, wherever they belong."""
    return _record(MERGE_POINTS, run_id, points, project_id, bucket_from)


def _record(
    statement: Statement, run_id: str, points: Points, project_id: str | None, bucket_from: int
) -> Recorded:
    found = statement.row(
        run_id=run_id,
        project_id=project_id,
        keys=points.distinct_keys,
        key_numbers=Bigints(points.key_numbers),
        steps=Bigints(points.steps),
        timestamps_ms=Bigints(points.timestamps_ms),
        values=Doubles(points.values),
        bucket_from=bucket_from,
    )
    assert found is not None
    return Recorded(*found)


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


# --- back ------------------------------------------------------------------------------------

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
