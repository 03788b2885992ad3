"""SQL that reads points, where the ORM is not enough: one query per function."""

from __future__ import annotations

from typing import Final

from core.database import Bigints, Statement

HISTORY: Final = Statement("""
SELECT step, timestamp_ms, value
FROM metrics_metricpoint
WHERE series_id = (SELECT id FROM metrics_metricseries WHERE run_id = %(run_id)s AND key = %(key)s)
    AND (step, timestamp_ms, value)
        > (%(step)s::bigint, %(timestamp_ms)s::bigint, %(value)s::float8)
ORDER BY step, timestamp_ms, value
LIMIT %(limit)s::bigint
""")


def history(
    run_id: str, key: str, *, after: tuple[int, int, float], limit: int
) -> list[tuple[int, int, float]]:
    """The next points (step, timestamp_ms, value) of a metric after ``after``, in that order.

    A row comparison finds their place in the index, whatever the depth.
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
    FROM metrics_metricpoint
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
    """The next ``limit`` points of the series: (series ID, steps, timestamps, values) per series.

    ``after``: the last point of the previous batch; None for the first. In columns, because
    building a tuple per point would take longer than reading the points.
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
