"""Raw SQL: metrics at the step at which another metric was best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.database import Statement

AT_BEST: Final = Statement("""
WITH main AS (
    SELECT
        id, run_id, bucket_shift, bucketed_below,
        CASE WHEN %(least)s::boolean THEN minimum ELSE maximum END AS best
    FROM metrics_metricseries
    WHERE run_id = ANY(%(run_ids)s::text[]) AND key = %(main)s::text
), best AS (
    SELECT
        main.run_id,
        (
            SELECT min(step) FROM (
                -- The coarsest buckets: they are few, and know the step of their extremes.
                SELECT min(CASE WHEN %(least)s::boolean THEN minimum_step ELSE maximum_step END)
                FROM metrics_metricbucket AS bucket
                WHERE bucket.series_id = main.id AND bucket.shift = main.bucket_shift + 9
                    AND main.best
                        = CASE WHEN %(least)s::boolean THEN minimum ELSE maximum END
                UNION ALL
                -- What is in no bucket yet.
                SELECT min(step)
                FROM metrics_metricpoint AS point
                WHERE point.series_id = main.id AND point.value = main.best
                    AND point.step >= coalesce(main.bucketed_below, -9223372036854775808)
            ) AS found (step)
        ) AS step
    FROM main
)
SELECT best.run_id, series.key, at.value
FROM best
    JOIN metrics_metricseries AS series
        ON series.run_id = best.run_id AND series.key = ANY(%(keys)s::text[])
    CROSS JOIN LATERAL (
        SELECT value
        FROM metrics_metricpoint
        WHERE series_id = series.id AND step <= best.step
        ORDER BY step DESC, timestamp_ms DESC, value DESC
        LIMIT 1
    ) AS at
""")


def values_at_best(
    run_ids: Sequence[str], *, main: str, least: bool, keys: Sequence[str]
) -> dict[tuple[str, str], float]:
    """By run and key: the metric's value at the first step at which ``main`` was best, or the last
    one before it. ``least``: whether the best value of ``main`` is its minimum.

    The ORM has no lateral joins: this reads one point of each series and a few buckets.
    """
    rows = AT_BEST.rows(run_ids=list(run_ids), main=main, least=least, keys=list(keys))
    return {(run_id, key): value for run_id, key, value in rows}
