"""SQL that reads what metrics came to: of several runs at once, with the steps of the extremes."""

from __future__ import annotations

from typing import Any, Final

from core.database import Statement, Texts
from core.numbers import MIN_BIGINT
from metrics.bucket_queries import COARSER

# Of each extreme the first step: in the coarsest buckets, of which there are few, or among the
# points that are in no bucket yet.
RUN_METRICS: Final = Statement(
    f"""
SELECT
    run_id, key, count,
    series.minimum, (
        SELECT step FROM (
            (
                SELECT minimum_step AS step FROM metrics_metricbucket
                WHERE series_id = series.id AND shift = series.bucket_shift + {COARSER[-1]}
                    AND minimum = series.minimum
                ORDER BY number LIMIT 1
            ) UNION ALL (
                SELECT step FROM metrics_metricpoint
                WHERE series_id = series.id AND value = series.minimum
                    AND step >= coalesce(series.bucketed_below, {MIN_BIGINT})
                ORDER BY step, timestamp_ms, value LIMIT 1
            )
        ) AS found ORDER BY step LIMIT 1
    ),
    series.maximum, (
        SELECT step FROM (
            (
                SELECT maximum_step AS step FROM metrics_metricbucket
                WHERE series_id = series.id AND shift = series.bucket_shift + {COARSER[-1]}
                    AND maximum = series.maximum
                ORDER BY number LIMIT 1
            ) UNION ALL (
                SELECT step FROM metrics_metricpoint
                WHERE series_id = series.id AND value = series.maximum
                    AND step >= coalesce(series.bucketed_below, {MIN_BIGINT})
                ORDER BY step, timestamp_ms, value LIMIT 1
            )
        ) AS found ORDER BY step LIMIT 1
    ),
    last_step, last_timestamp_ms, last_value
FROM metrics_metricseries AS series
WHERE run_id = ANY(%(run_ids)s::text[]) AND key = ANY(%(keys)s::text[]) AND count > 0
    AND last_step IS NOT NULL
"""  # noqa: S608  composed of constants
)


def run_metrics(run_ids: list[str], keys: list[str]) -> list[tuple[Any, ...]]:
    """Rows of run, key, and the fields of reading.RunMetric."""
    return RUN_METRICS.rows(run_ids=Texts(run_ids), keys=Texts(keys))
