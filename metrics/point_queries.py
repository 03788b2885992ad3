"""SQL that inserts and deletes points: one query per function.

A batch is stored by one statement, all or nothing, and only rows that were really inserted are
counted, which the ORM cannot report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from core.database import Bigints, Doubles, Statement, Texts
from core.numbers import MAX_BIGINT, MIN_BIGINT
from metrics.bucket_queries import AGGREGATED, COARSER
from runs.progress import FAR_STEP, FAR_TOTALS

if TYPE_CHECKING:
    from metrics.points import Points

# See runs/progress.py.
FAR: Final = f"""
    CASE
        WHEN total_steps > 0
        THEN {FAR_TOTALS} * least(total_steps, {MAX_BIGINT // FAR_TOTALS}) ELSE {FAR_STEP}
    END
"""
# Without a known number of steps, another axis is at least so many times as long as the run's.
AXIS_RATIO: Final = 10
# With a known one, a far axis that is the only one is the run's if it is not so many times as long:
# a training may be planned in epochs.
ALONE_RATIO: Final = 1000
TRUST: Final = 10  # in a known number: a point of the near axis counts as so many far ones
FEW_POINTS: Final = 3  # of the near axis, from which on it is the run's

# Columns that tell points, and the steps of series, apart.
POINT: Final = ("series_id", "step", "timestamp_ms", "value")
STEP: Final = ("series_id", "step")

# --- inserting -------------------------------------------------------------------------------

# Stands in for the last point, or the end of the buckets, of a series that has none. Not NULL: to
# find an element of an array with NULLs, PostgreSQL reads the array from its start.

LOCKED_BATCH: Final = f"""
    run AS MATERIALIZED (
        -- First: every writer locks the run before anything else.
        SELECT id, {FAR} AS far
        FROM runs_run
        WHERE
            id = %(run_id)s AND deleted_at IS NULL
            AND project_id = coalesce(%(project_id)s::text, project_id)
        FOR NO KEY UPDATE
    ), named AS MATERIALIZED (
        -- Locking returns the current rows: this statement's snapshot may be older than its locks.
        -- Looked up one by one, because the run may have thousands of other series.
        SELECT names.number, series.*
        FROM
            run,
            unnest(%(keys)s::text[]) WITH ORDINALITY AS names (key, number),
            LATERAL (
                SELECT
                    id, bucket_shift, bucketed_below, rewound_to,
                    last_step, last_timestamp_ms, last_value
                FROM metrics_metricseries
                WHERE run_id = run.id AND key = names.key
                FOR NO KEY UPDATE
            ) AS series
    ), batch_of AS MATERIALIZED (
        -- In arrays indexed by key number: a join of points and series, planned for lists of
        -- unknown length, might become a nested loop.
        SELECT
            array_agg(id ORDER BY number) AS ids,
            array_agg(bucket_shift ORDER BY number) AS shifts,
            array_agg(coalesce(bucketed_below, {MIN_BIGINT}) ORDER BY number) AS belows,
            max(bucketed_below) AS below,
            array_agg(coalesce(last_step, {MIN_BIGINT}) ORDER BY number) AS steps,
            array_agg(
                CASE
                    -- An earlier attempt's last step, which this one may report again.
                    WHEN last_step <= rewound_to THEN {MAX_BIGINT}
                    ELSE coalesce(last_timestamp_ms, {MIN_BIGINT})
                END
                ORDER BY number
            ) AS times,
            array_agg(coalesce(last_value, '-Infinity') ORDER BY number) AS values
        FROM named
    ), batch AS MATERIALIZED (
        SELECT
            point.number, ids[point.number] AS series_id,
            point.step, point.timestamp_ms, point.value,
            (point.step, point.timestamp_ms, point.value)
                > (steps[point.number], times[point.number], values[point.number])
                -- After a rewind, buckets may extend beyond the remaining points.
                AND point.step >= belows[point.number] AS is_newest
        FROM
            batch_of,
            unnest(
                %(key_numbers)s::bigint[], %(steps)s::bigint[], %(timestamps_ms)s::bigint[],
                %(values)s::float8[]
            ) AS point (number, step, timestamp_ms, value)
        -- All or nothing: missing series are created first, see CREATE_SERIES.
        WHERE cardinality(ids) = cardinality(%(keys)s::text[])
    ), verdict AS MATERIALIZED (
        SELECT coalesce(bool_and(is_newest), false) AS are_newest FROM batch
    )
"""  # noqa: S608  composed of constants

IS_NEWER: Final = """
    (summary.step, summary.timestamp_ms, summary.value)
    > (series.last_step, series.last_timestamp_ms, series.last_value) IS NOT FALSE
"""


def summarized(*, late: str = "0") -> str:
    """Common table expressions that update the series and the run's latest values with the points
    of the relation ``new``; ``late``: SQL for how many of a series' new points are in buckets."""
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
        UPDATE metrics_metricseries AS series
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
            series.count - series.bucketed_count >= %(min_unbucketed)s AND (
                series.bucket_shift IS NULL
                -- Further buckets have filled up. Points of a single step fill none.
                OR (series.last_step >> series.bucket_shift) << series.bucket_shift
                    > series.bucketed_below
            ) AS needs_buckets
    ), latest AS (
        UPDATE runs_run AS run
        SET
            metrics = run.metrics || (SELECT jsonb_object_agg(key, last_value) FROM updated),
            gpu_utilization = coalesce(
                (
                    -- A share of 1; values above 1 can only be percent.
                    SELECT CASE WHEN last_value > 1 THEN last_value / 100 ELSE last_value END
                    FROM updated
                    WHERE key = 'gpu_utilization' AND last_value BETWEEN 0 AND 100
                ),
                run.gpu_utilization
            ),
            -- A far step is left to SET_FAR_STEP.
            step = CASE WHEN reached <= far THEN greatest(run.step, reached) ELSE run.step END,
            progress = CASE
                WHEN reached > run.step AND reached <= far AND run.total_steps > 0
                THEN least(1, reached::float8 / run.total_steps)
                ELSE run.progress
            END,
            stepped_at = CASE
                WHEN reached > run.step AND reached <= far THEN statement_timestamp()
                ELSE run.stepped_at
            END,
            reported_at = statement_timestamp(),
            updated_at = statement_timestamp(),
            is_indexed = false
        FROM
            (
                -- Metrics of the host have an axis of their own.
                SELECT max(last_step) FILTER (WHERE NOT starts_with(key, 'system/')) AS reached
                FROM updated
            ) AS steps,
            run AS locked
        WHERE run.id = %(run_id)s AND EXISTS (SELECT FROM updated)
        RETURNING greatest(run.step, reached) > far AS is_far
    )
    SELECT
        EXISTS (SELECT FROM run),
        coalesce((SELECT cardinality(ids) FROM batch_of), 0) = cardinality(%(keys)s::text[]),
        (SELECT are_newest FROM verdict),
        ARRAY(SELECT id FROM updated WHERE needs_buckets),
        coalesce((SELECT is_far FROM latest), false)
"""  # noqa: S608  composed of constants


APPEND_POINTS: Final = Statement(
    f"""
WITH {LOCKED_BATCH}, new AS NOT MATERIALIZED (
    SELECT series_id, step, timestamp_ms, value
    FROM batch
    WHERE (SELECT are_newest FROM verdict)
), inserted AS (
    -- All of them or none, so there is no need to return them.
    INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)
    SELECT * FROM new
), {summarized()}
"""  # noqa: S608  composed of constants
)


def _same(one: str, other: str, columns: tuple[str, ...] = POINT) -> str:
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in columns)


# What an attempt reports of steps that earlier ones had reached is noted, point by point, whether
# it is stored or ignored: so are its points told from theirs, and a point that is sent twice from
# a second value. Whose clock the times are of does not matter.
NO_STEPS: Final = MAX_BIGINT  # in rewound_to, of a metric that is reported without steps
JUDGED: Final = f"""
    bounds AS MATERIALIZED (
        SELECT array_agg(coalesce(rewound_to, {MIN_BIGINT}) ORDER BY number) AS rewound_tos
        FROM named
    ), told AS MATERIALIZED (
        SELECT
            batch.*, step <= rewound_tos[number] AS may_repeat,
            rewound_tos[number] < {NO_STEPS} AS has_steps
        FROM batch, bounds
    ), replayed AS MATERIALIZED (
        SELECT
            series_id, step, timestamp_ms, value, has_steps,
            value = first_value(value) OVER (
                PARTITION BY series_id, step ORDER BY timestamp_ms, value
            ) AS is_first
        FROM told
        WHERE may_repeat
            AND NOT EXISTS (SELECT FROM metrics_metricpoint AS old WHERE {_same("old", "told")})
            AND NOT EXISTS (SELECT FROM metrics_replayedpoint AS old WHERE {_same("old", "told")})
    ), judged AS MATERIALIZED (
        SELECT
            replayed.series_id, replayed.step, replayed.timestamp_ms, replayed.value,
            coalesce(
                earlier.has_value
                    -- The first value repeats it, even if it differs; later ones are new.
                    OR has_steps AND earlier.count = 1 AND coalesce(ignored.has_value, is_first),
                false
            ) AS is_repeat
        FROM
            replayed,
            LATERAL (
                SELECT count(*) AS count, bool_or(old.value = replayed.value) AS has_value
                FROM metrics_metricpoint AS old
                WHERE {_same("old", "replayed", STEP)} AND NOT EXISTS (
                    SELECT FROM metrics_replayedpoint AS own WHERE {_same("own", "old")}
                )
            ) AS earlier,
            LATERAL (
                SELECT bool_or(own.value = replayed.value) AS has_value
                FROM metrics_replayedpoint AS own
                WHERE {_same("own", "replayed", STEP)} AND NOT EXISTS (
                    SELECT FROM metrics_metricpoint AS old WHERE {_same("old", "own")}
                )
            ) AS ignored
    ), noted AS (
        INSERT INTO metrics_replayedpoint (series_id, step, timestamp_ms, value)
        SELECT series_id, step, timestamp_ms, value FROM judged
        ON CONFLICT DO NOTHING
    )
"""  # noqa: S608  composed of constants

MERGE_POINTS: Final = Statement(
    f"""
WITH {LOCKED_BATCH}, {JUDGED}, new AS (
    INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)
    SELECT series_id, step, timestamp_ms, value FROM told WHERE NOT may_repeat
    UNION ALL
    SELECT series_id, step, timestamp_ms, value FROM judged WHERE NOT is_repeat
    ON CONFLICT DO NOTHING
    RETURNING series_id, step, timestamp_ms, value
), source AS (
    -- Late points: the buckets of their steps already exist.
    SELECT series_id, shifts[place] AS shift, step, timestamp_ms, value
    FROM (
        SELECT new.*, shifts, belows, array_position(ids, series_id) AS place
        FROM batch_of, new
        WHERE step < below
    ) AS candidate
    WHERE step < belows[place]
), {AGGREGATED}, {summarized(late="(SELECT count(*) FROM source WHERE series_id = series.id)")}
"""  # noqa: S608  composed of constants
)


class Recorded(NamedTuple):
    run_exists: bool  # and belongs to the project, if one is given
    series_exist: bool  # all series of the batch; if not, nothing was stored
    are_newest: bool  # every point is beyond the points and buckets of its series
    unbucketed: list[int]  # IDs of series with enough unbucketed points for new buckets
    is_far: bool  # a metric is at a step that may be of another axis: call set_far_step


def append_points(
    run_id: str, points: Points, *, project_id: str | None, min_unbucketed: int
) -> Recorded:
    """Insert distinct points that are beyond all points and buckets of their series; if any point
    is not, do nothing.

    Most points arrive this way, and as their series are locked, no index has to be searched first.
    """
    return _record(APPEND_POINTS, run_id, points, project_id, min_unbucketed)


def merge_points(
    run_id: str, points: Points, *, project_id: str | None, min_unbucketed: int
) -> Recorded:
    """Insert those of the points that are not stored yet, at any step.

    Leaves out what repeats an earlier attempt: of a step that it reported with a single value, the
    first value; of a step that it reported with several, each of these.
    """
    return _record(MERGE_POINTS, run_id, points, project_id, min_unbucketed)


def _record(
    statement: Statement, run_id: str, points: Points, project_id: str | None, min_unbucketed: int
) -> Recorded:
    row = statement.row(
        run_id=run_id,
        project_id=project_id,
        keys=Texts(points.distinct_keys),
        key_numbers=Bigints(points.key_numbers),
        steps=Bigints(points.steps),
        timestamps_ms=Bigints(points.timestamps_ms),
        values=Doubles(points.values),
        min_unbucketed=min_unbucketed,
    )
    assert row is not None
    return Recorded(*row)


SET_FAR_STEP: Final = Statement(
    f"""
WITH run AS MATERIALIZED (
    SELECT id, step, start_step, coalesce(total_steps, 0) AS total, {FAR} AS far
    FROM runs_run
    WHERE id = %(run_id)s
    FOR NO KEY UPDATE
), series AS MATERIALIZED (
    SELECT series.id, last_step, count, last_step > run.far AS is_far
    FROM run JOIN metrics_metricseries AS series ON series.run_id = run.id
    WHERE NOT starts_with(key, 'system/')
), axes AS (
    SELECT
        max(last_step) AS reached,
        -- Metrics without steps are at 0.
        max(last_step) FILTER (WHERE last_step > 0 AND NOT is_far) AS near,
        sum(count) FILTER (WHERE last_step > 0 AND NOT is_far) AS near_points,
        min(last_step) FILTER (WHERE is_far) AS nearest_far,
        sum(count) FILTER (WHERE is_far) AS far_points
    FROM series
), judged AS (
    SELECT
        CASE
            -- All that is known is far.
            WHEN near IS NULL THEN
                run.total > 0 AND nearest_far > {FAR_STEP}
                AND nearest_far / {ALONE_RATIO} >= run.total
            ELSE (run.total > 0 OR nearest_far / {AXIS_RATIO} >= near) AND (
                near_points * CASE WHEN run.total > 0 THEN {TRUST} ELSE 1 END >= far_points
                OR (run.total > 0 OR near_points >= {FEW_POINTS}) AND NOT EXISTS (
                    -- It was near once: the training is long, or longer than planned.
                    SELECT
                    FROM series JOIN metrics_metricpoint AS point ON point.series_id = series.id
                    WHERE is_far AND point.step BETWEEN 1 AND run.far
                )
            )
        END AS is_other_axis
    FROM run, axes
), progressed AS (
    SELECT CASE
        WHEN is_other_axis THEN greatest(
            near,
            run.start_step,
            -- A checkpoint may have told the run's step, or, while it was near, the other axis.
            CASE
                WHEN run.step <= run.far AND NOT EXISTS (
                    SELECT
                    FROM series JOIN metrics_metricpoint AS point ON point.series_id = series.id
                    WHERE is_far AND point.step = run.step
                )
                THEN run.step
            END
        )
        ELSE greatest(run.step, reached)
    END AS step
    FROM run, axes, judged
)
UPDATE runs_run AS target
SET
    step = progressed.step,
    progress = CASE
        WHEN target.total_steps > 0 THEN least(1, progressed.step::float8 / target.total_steps)
        ELSE target.progress
    END,
    stepped_at = CASE
        WHEN progressed.step > run.step THEN statement_timestamp() ELSE target.stepped_at
    END
FROM run, progressed
WHERE target.id = run.id AND progressed.step <> run.step
"""  # noqa: S608  composed of constants
)


def set_far_step(run_id: str) -> None:
    """Set the step of a run of whose metrics some are at a far step: once others are at a near one,
    with a few points, the far ones have another axis, such as tokens, and do not count."""
    SET_FAR_STEP.run(run_id=run_id)


CREATE_SERIES: Final = Statement("""
WITH run AS MATERIALIZED (
    SELECT id FROM runs_run WHERE id = %(run_id)s AND deleted_at IS NULL FOR NO KEY UPDATE
)
INSERT INTO metrics_metricseries (run_id, key)
SELECT run.id, key FROM run, unnest(%(keys)s::text[]) AS key
ON CONFLICT DO NOTHING
""")


def create_series(run_id: str, keys: list[str]) -> None:
    """Create the missing series of ``keys``; safe to call concurrently. Does nothing if the run
    does not exist or is in the trash."""
    CREATE_SERIES.run(run_id=run_id, keys=keys)


# --- reading ---------------------------------------------------------------------------------

LAST_STEP_AT: Final = Statement(
    f"""
WITH run AS MATERIALIZED (
    SELECT id, greatest(step, {FAR}) AS last_step FROM runs_run WHERE id = %(run_id)s
), newest AS (
    -- Metrics of the host have an axis of their own, and so have those far beyond the run's step.
    SELECT series.id
    FROM run JOIN metrics_metricseries AS series ON series.run_id = run.id
    WHERE series.last_step <= run.last_step AND NOT starts_with(series.key, 'system/')
    ORDER BY series.last_step DESC, series.id
    LIMIT 8
)
SELECT max(point.step)
FROM
    newest,
    LATERAL (
        SELECT step
        FROM metrics_metricpoint
        WHERE series_id = newest.id AND timestamp_ms <= %(timestamp_ms)s::bigint
        ORDER BY step DESC, timestamp_ms DESC
        LIMIT 1
    ) AS point
"""  # noqa: S608  composed of constants
)


def last_step_at(run_id: str, timestamp_ms: int) -> int | None:
    """The greatest step that the run's metrics had reached by then; None if none had started."""
    row = LAST_STEP_AT.row(run_id=run_id, timestamp_ms=timestamp_ms)
    return None if row is None else row[0]


# --- deleting --------------------------------------------------------------------------------

DELETE_POINTS_AFTER: Final = Statement(
    f"""
WITH run AS MATERIALIZED (
    SELECT id, greatest(step, {FAR}) AS last_step FROM runs_run WHERE id = %(run_id)s
), axes AS MATERIALIZED (
    SELECT series.id, series.last_step > run.last_step AS is_far
    FROM run JOIN metrics_metricseries AS series ON series.run_id = run.id
    -- Metrics of the host have an axis of their own.
    WHERE series.last_step > %(step)s AND NOT starts_with(series.key, 'system/')
), reached AS MATERIALIZED (
    -- When the run had reached the step.
    SELECT max(point.timestamp_ms) AS timestamp_ms
    FROM run
        JOIN metrics_metricseries AS series ON series.run_id = run.id
        JOIN metrics_metricpoint AS point ON point.series_id = series.id
    WHERE
        EXISTS (SELECT FROM axes WHERE is_far)
        AND series.last_step <= run.last_step AND NOT starts_with(series.key, 'system/')
        AND point.step <= %(step)s
), cuts AS MATERIALIZED (
    SELECT id AS series_id, %(step)s::bigint + 1 AS first FROM axes WHERE NOT is_far
    UNION ALL
    -- The steps of another axis, such as tokens, are told apart by their time.
    SELECT
        axes.id,
        (
            SELECT min(point.step)
            FROM metrics_metricpoint AS point
            WHERE point.series_id = axes.id
                AND point.timestamp_ms > coalesce(reached.timestamp_ms, {MIN_BIGINT})
        )
    FROM axes, reached
    WHERE is_far
), deleted AS (
    DELETE FROM metrics_metricpoint point
    USING cuts
    WHERE point.series_id = cuts.series_id AND point.step >= cuts.first
    RETURNING point.series_id, point.step
)
SELECT series_id, min(step), count(*)::bigint FROM deleted GROUP BY series_id
"""  # noqa: S608  composed of constants
)

DELETE_POINTS: Final = Statement(
    f"""
WITH ids_of AS MATERIALIZED (
    SELECT array_agg(series.id ORDER BY names.number) AS ids
    FROM
        unnest(%(keys)s::text[]) WITH ORDINALITY AS names (key, number)
        LEFT JOIN metrics_metricseries AS series
            ON series.run_id = %(run_id)s AND series.key = names.key
), gone AS MATERIALIZED (
    SELECT ids[point.number] AS series_id, point.step, point.timestamp_ms, point.value
    FROM
        ids_of,
        unnest(
            %(key_numbers)s::bigint[], %(steps)s::bigint[], %(timestamps_ms)s::bigint[],
            %(values)s::float8[]
        ) AS point (number, step, timestamp_ms, value)
), forgotten AS (
    DELETE FROM metrics_replayedpoint AS point USING gone WHERE {_same("point", "gone")}
), deleted AS (
    DELETE FROM metrics_metricpoint AS point USING gone WHERE {_same("point", "gone")}
    RETURNING point.series_id, point.step
)
SELECT series_id, min(step), count(*)::bigint FROM deleted GROUP BY series_id
"""  # noqa: S608  composed of constants
)

SUMMARIZE_ANEW: Final = Statement(
    f"""
WITH affected AS MATERIALIZED (
    SELECT
        series.id AS series_id,
        -- Keep the coarsest buckets that end before the deleted points, and what is in them.
        least(
            bucketed_below,
            (cuts.first >> (bucket_shift + {COARSER[-1]})) << (bucket_shift + {COARSER[-1]})
        ) AS below
    FROM
        unnest(%(series_ids)s::bigint[], %(firsts)s::bigint[]) AS cuts (series_id, first)
        JOIN metrics_metricseries AS series ON series.id = cuts.series_id
), deleted_buckets AS (
    DELETE FROM metrics_metricbucket AS bucket
    USING affected
    WHERE bucket.series_id = affected.series_id AND bucket.first_step >= affected.below
), summary AS (
    SELECT
        affected.series_id,
        count(kept.value) AS count,
        count(kept.value) FILTER (WHERE kept.step < affected.below) AS bucketed_count,
        min(kept.value) FILTER (WHERE kept.value <> 'NaN') AS minimum,
        max(kept.value) FILTER (WHERE kept.value <> 'NaN') AS maximum
    FROM affected LEFT JOIN metrics_metricpoint AS kept ON kept.series_id = affected.series_id
    GROUP BY affected.series_id
)
UPDATE metrics_metricseries AS series
SET
    count = summary.count,
    minimum = summary.minimum,
    maximum = summary.maximum,
    bucketed_below = affected.below,
    bucketed_count = summary.bucketed_count,
    (last_step, last_timestamp_ms, last_value) = (
        SELECT point.step, point.timestamp_ms, point.value
        FROM metrics_metricpoint AS point
        WHERE point.series_id = series.id
        ORDER BY point.step DESC, point.timestamp_ms DESC, point.value DESC
        LIMIT 1
    )
FROM summary JOIN affected USING (series_id)
WHERE series.id = summary.series_id
"""  # noqa: S608  composed of constants
)


def delete_points_after(run_id: str, step: int) -> int:
    """Delete the run's points after ``step``, update the summaries, return the number deleted.

    Call with the run's row locked in an earlier statement of the same transaction: no reader sees
    summaries of deleted points.
    """
    return _summarized_anew(DELETE_POINTS_AFTER.rows(run_id=run_id, step=step))


def delete_points(run_id: str, points: Points) -> int:
    """Delete those of the ``points`` that the run has; otherwise like ``delete_points_after``."""
    rows = DELETE_POINTS.rows(
        run_id=run_id,
        keys=Texts(points.distinct_keys),
        key_numbers=Bigints(points.key_numbers),
        steps=Bigints(points.steps),
        timestamps_ms=Bigints(points.timestamps_ms),
        values=Doubles(points.values),
    )
    return _summarized_anew(rows)


def _summarized_anew(deleted: list[tuple[int, int, int]]) -> int:
    """``deleted``: of each series its ID, the first step deleted and how many points."""
    if deleted:
        series_ids, firsts, _counts = zip(*deleted, strict=True)
        SUMMARIZE_ANEW.run(series_ids=Bigints(series_ids), firsts=Bigints(firsts))
    return sum(count for _series_id, _first, count in deleted)


BEGIN_ATTEMPT: Final = Statement(
    f"""
WITH forgotten AS (
    DELETE FROM metrics_replayedpoint AS point
    USING metrics_metricseries AS series
    WHERE series.run_id = %(run_id)s AND point.series_id = series.id
)
UPDATE metrics_metricseries
-- What has reached step 0 alone has no steps: a further value does not repeat an earlier one.
SET rewound_to = CASE
    WHEN last_step > 0 OR %(to_step)s::bigint <= 0 THEN last_step ELSE {NO_STEPS}
END
-- Metrics of the host are not reported again.
WHERE run_id = %(run_id)s AND NOT starts_with(key, 'system/')
"""  # noqa: S608  composed of constants
)


KEEP_REWOUND: Final = Statement(
    f"""
UPDATE metrics_metricseries
SET rewound_to = last_step
WHERE run_id = %(run_id)s AND rewound_to IS DISTINCT FROM last_step AND rewound_to < {NO_STEPS}
"""  # noqa: S608  composed of constants
)


def rewind(run_id: str, to_step: int) -> int:
    """Delete the points after ``to_step``, and note that all others are of earlier attempts than
    the one that begins there. Returns the number deleted."""
    BEGIN_ATTEMPT.run(run_id=run_id, to_step=to_step)  # first: it looks at what has reached a step
    deleted = delete_points_after(run_id, to_step)
    KEEP_REWOUND.run(run_id=run_id)
    return deleted


FORGET_REPLAYED: Final = Statement("""
DELETE FROM metrics_replayedpoint AS point
USING metrics_metricseries AS series
WHERE series.run_id = %(run_id)s AND series.key = ANY(%(keys)s::text[])
    AND point.series_id = series.id AND point.step >= %(step)s::bigint
""")


def forget_replayed(run_id: str, keys: list[str], step: int) -> None:
    """Treat what this attempt has reported of the steps of earlier ones, from ``step`` on, as
    theirs: it reports that again."""
    FORGET_REPLAYED.run(run_id=run_id, keys=keys, step=step)
