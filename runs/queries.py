"""SQL beyond the ORM: one query a function, and why the ORM could not say it."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

INSERT_POINTS = """
WITH new AS (
    INSERT INTO runs_metricpoint (series_id, step, timestamp_ms, value)
    SELECT * FROM unnest(
        %(series_ids)s::bigint[], %(steps)s::bigint[],
        %(timestamps_ms)s::bigint[], %(values)s::float8[]
    )
    ON CONFLICT DO NOTHING
    RETURNING series_id, step, timestamp_ms, value
), summary AS (
    SELECT
        series_id,
        count(*) AS count,
        min(value) FILTER (WHERE value <> 'NaN') AS minimum,
        max(value) FILTER (WHERE value <> 'NaN') AS maximum
    FROM new
    GROUP BY series_id
), newest AS (
    SELECT DISTINCT ON (series_id) series_id, step, timestamp_ms, value
    FROM new
    ORDER BY series_id, step DESC, timestamp_ms DESC, value DESC
), last AS (
    SELECT
        newest.*,
        stored.last_step IS NULL
        OR (newest.step, newest.timestamp_ms, newest.value)
            > (stored.last_step, stored.last_timestamp_ms, stored.last_value) AS is_newer
    FROM newest JOIN runs_metricseries stored ON stored.id = newest.series_id
)
UPDATE runs_metricseries series
SET
    count = series.count + summary.count,
    minimum = least(series.minimum, summary.minimum),
    maximum = greatest(series.maximum, summary.maximum),
    last_step = CASE WHEN is_newer THEN last.step ELSE series.last_step END,
    last_timestamp_ms =
        CASE WHEN is_newer THEN last.timestamp_ms ELSE series.last_timestamp_ms END,
    last_value = CASE WHEN is_newer THEN last.value ELSE series.last_value END
FROM summary JOIN last USING (series_id)
WHERE series.id = summary.series_id
RETURNING series.key, series.last_value
"""


def insert_points(
    series_ids: Sequence[int],
    steps: Sequence[int],
    timestamps_ms: Sequence[int],
    values: Sequence[float],
) -> dict[str, float]:
    """Insert the points not yet there and fold them into their series' summaries.

    Returns key -> latest value of each series that grew. One statement, because only the rows that
    were really inserted may be counted, and the ORM cannot read them back from an
    ON CONFLICT DO NOTHING. Callers hold the run's lock, so summaries are never read stale.
    """
    parameters: dict[str, list[Any]] = {
        "series_ids": list(series_ids),
        "steps": list(steps),
        "timestamps_ms": list(timestamps_ms),
        "values": list(values),
    }
    with connection.cursor() as cursor:
        cursor.execute(INSERT_POINTS, parameters)
        return dict(cursor.fetchall())


DELETE_POINTS_AFTER = """
WITH gone AS (
    DELETE FROM runs_metricpoint point
    USING runs_metricseries series
    WHERE series.run_id = %(run_id)s AND point.series_id = series.id AND point.step > %(step)s
    RETURNING point.series_id
), affected AS (
    SELECT DISTINCT series_id FROM gone
), summary AS (
    SELECT
        affected.series_id,
        count(kept.value) AS count,
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
        (last_step, last_timestamp_ms, last_value) = (
            SELECT point.step, point.timestamp_ms, point.value
            FROM runs_metricpoint point
            WHERE point.series_id = series.id AND point.step <= %(step)s
            ORDER BY point.step DESC, point.timestamp_ms DESC, point.value DESC
            LIMIT 1
        )
    FROM summary
    WHERE series.id = summary.series_id
)
SELECT count(*) FROM gone
"""


def delete_points_after(run_id: str, step: int) -> int:
    """Delete the run's points after ``step``, summarize what is left; how many were deleted.

    One statement, so that no reader sees summaries of points that are gone.
    """
    with connection.cursor() as cursor:
        cursor.execute(DELETE_POINTS_AFTER, {"run_id": run_id, "step": step})
        return int(cursor.fetchone()[0])


SERIES_BUCKETS = """
WITH wanted AS (
    SELECT
        *, CASE WHEN %(by_time)s THEN timestamp_ms ELSE step END AS place
    FROM runs_metricpoint
    WHERE series_id = %(series_id)s AND step BETWEEN %(from_step)s AND %(to_step)s
), bounds AS (
    SELECT min(place) AS first, max(place) AS last FROM wanted
), bucketed AS (
    SELECT
        wanted.*,
        div(
            -- numeric: the span of two bigints need not be one
            (place::numeric - bounds.first) * %(buckets)s,
            bounds.last::numeric - bounds.first + 1
        )::bigint AS bucket
    FROM wanted, bounds
)
SELECT
    count(*),
    min(value) FILTER (WHERE value <> 'NaN'),
    (array_agg(step ORDER BY value, step) FILTER (WHERE value <> 'NaN'))[1],
    max(value) FILTER (WHERE value <> 'NaN'),
    (array_agg(step ORDER BY value DESC, step) FILTER (WHERE value <> 'NaN'))[1],
    (array_agg(step ORDER BY step, timestamp_ms, value))[1],
    (array_agg(timestamp_ms ORDER BY step, timestamp_ms, value))[1],
    (array_agg(value ORDER BY step, timestamp_ms, value))[1],
    (array_agg(step ORDER BY step DESC, timestamp_ms DESC, value DESC))[1],
    (array_agg(timestamp_ms ORDER BY step DESC, timestamp_ms DESC, value DESC))[1],
    (array_agg(value ORDER BY step DESC, timestamp_ms DESC, value DESC))[1]
FROM bucketed
GROUP BY bucket
ORDER BY bucket
"""


def series_buckets(
    series_id: int, *, from_step: int, to_step: int, buckets: int, by_time: bool
) -> list[tuple[Any, ...]]:
    """At most ``buckets`` rows of what a runs.metrics.Bucket holds, in the order of its fields.

    Every point lies in one bucket, so no spike is lost. In SQL, because a million points need not
    travel to make a thousand.
    """
    parameters = {
        "series_id": series_id,
        "from_step": from_step,
        "to_step": to_step,
        "buckets": buckets,
        "by_time": by_time,
    }
    with connection.cursor() as cursor:
        cursor.execute(SERIES_BUCKETS, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# The order of the rows is said twice: the inner one is the index's, which the outer ones keep to.
POINTS_IN_COLUMNS = """
SELECT
    series_id,
    array_agg(step ORDER BY step, timestamp_ms, value),
    array_agg(timestamp_ms ORDER BY step, timestamp_ms, value),
    array_agg(value ORDER BY step, timestamp_ms, value)
FROM (
    SELECT *
    FROM runs_metricpoint
    WHERE
        series_id = ANY(%(series_ids)s::bigint[])
        AND (series_id, step, timestamp_ms, value)
            {after} (
                %(series_id)s,
                CAST(%(step)s AS bigint),
                CAST(%(timestamp_ms)s AS bigint),
                CAST(%(value)s AS float8)
            )
    ORDER BY series_id, step, timestamp_ms, value
    LIMIT %(limit)s
) batch
GROUP BY series_id
ORDER BY series_id
"""


def points_in_columns(
    series_ids: Sequence[int], *, after: tuple[int, int, int, float] | None, limit: int
) -> list[tuple[int, list[int], list[int], list[float]]]:
    """The next ``limit`` points of the series: (series id, steps, timestamps, values) of each.

    ``after``: the point that the previous batch ended with; None for the first. Columns, because a
    tuple for every point would take longer to make than the points to read.
    """
    first = (min(series_ids, default=0), -(2**63), -(2**63), float("-inf"))
    series_id, step, timestamp_ms, value = after or first
    parameters: dict[str, Any] = {
        "series_ids": list(series_ids),
        "series_id": series_id,
        "step": step,
        "timestamp_ms": timestamp_ms,
        "value": value,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(POINTS_IN_COLUMNS.format(after=">" if after else ">="), parameters)
        rows: list[tuple[int, list[int], list[int], list[float]]] = cursor.fetchall()
    return rows
