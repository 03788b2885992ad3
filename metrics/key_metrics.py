"""The metrics of a run that matter: those that its project names, or the important ones by rule
(metrics/goals.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.database import Statement, Texts
from metrics.goals import Direction, direction_of, important_metrics
from metrics.sparklines import Column, sparklines
from projects.models import Project
from runs.models import Run


def keys_among(counts: Mapping[str, int], project: Project) -> list[str]:
    """The metrics that matter, the main one first: those of ``counts`` that the project names, or
    the important ones. ``counts``: metric -> how many runs of the project have it."""
    named = [key for key in project.key_metrics if key in counts]
    return named or important_metrics(counts)


def main_metric(counts: Mapping[str, int], project: Project) -> str | None:
    """The metric that tells which of the project's runs is best; None without metrics."""
    return next(iter(keys_among(counts, project)), None)


def keys_of(run: Run) -> list[str]:
    """The keys of the metrics that matter and that the run has; ``run.project`` is loaded."""
    return keys_among(dict.fromkeys(run.metrics, 1), run.project)


@dataclass(frozen=True, slots=True)
class KeyMetric:
    key: str
    last: float
    last_step: int
    # None while every value is NaN, and if the name does not tell whether less or more is better.
    best: float | None
    best_step: int | None
    columns: list[Column]


# Where the extreme is, from the coarsest buckets and the points that are in none.
SUMMARIES: Final = Statement("""
SELECT series.key, last_value, last_step, extreme.value, extreme.step
FROM unnest(%(keys)s::text[], %(lowest)s::bool[]) AS asked (key, lowest)
    JOIN metrics_metricseries AS series
        ON series.run_id = %(run_id)s::text AND series.key = asked.key
    LEFT JOIN LATERAL (
        SELECT value, step
        FROM (
            SELECT
                CASE WHEN asked.lowest THEN bucket.minimum ELSE bucket.maximum END AS value,
                CASE WHEN asked.lowest THEN bucket.minimum_step ELSE bucket.maximum_step END AS step
            FROM metrics_metricbucket AS bucket
            WHERE bucket.series_id = series.id AND bucket.shift = series.bucket_shift + 9
            UNION ALL
            SELECT point.value, point.step
            FROM metrics_metricpoint AS point
            WHERE point.series_id = series.id AND point.value <> 'NaN'
                AND (series.bucketed_below IS NULL OR point.step >= series.bucketed_below)
        ) AS entry
        WHERE value = CASE WHEN asked.lowest THEN series.minimum ELSE series.maximum END
        ORDER BY step
        LIMIT 1
    ) AS extreme ON true
WHERE series.count > 0
""")


def key_metrics(run: Run, *, keys: list[str] | None = None) -> list[KeyMetric]:
    """The metrics that matter (or ``keys``) of the run, in their order. Two statements."""
    wanted = keys_of(run) if keys is None else keys
    if not wanted:
        return []
    directions = [direction_of(key) for key in wanted]
    lowest = [direction is Direction.LOWER for direction in directions]
    rows = {row[0]: row for row in SUMMARIES.rows(run_id=run.pk, keys=Texts(wanted), lowest=lowest)}
    lines = sparklines((run.pk, key) for key in rows)
    return [
        KeyMetric(
            key,
            last=rows[key][1],
            last_step=rows[key][2],
            best=rows[key][3] if direction else None,
            best_step=rows[key][4] if direction else None,
            columns=lines.get((run.pk, key), []),
        )
        for key, direction in zip(wanted, directions, strict=True)
        if key in rows
    ]
