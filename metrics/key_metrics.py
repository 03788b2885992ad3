"""The metrics of a run that matter: those that its project names, or the main ones by rule.

By rule, a loss comes before other metrics, of evaluation before training; a metric is better the
lower it is if its name says so (loss, perplexity, error …), else the higher.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from core.database import Statement, Texts
from metrics.recording import GPU_UTILIZATION
from metrics.sparklines import Column, sparklines
from runs.models import Run
from runs.system_metrics import PREFIX

COUNT_BY_RULE: Final = 3

_WORDS: Final = re.compile(r"[a-z]+|\d+")
_LOWER_IS_BETTER: Final = re.compile(
    r"loss|losses|perplexity|ppl|error|errors|err|wer|cer|mae|mse|rmse|nll|bpb|bpc|bpt|entropy"
    r"|latency|fid"
)
_EVALUATION: Final = re.compile(r"eval|evaluation|val|valid|validation|test")
# What tells how a training goes about its work, not how well it does.
_MINOR: Final = re.compile(
    r"lr|learning|epoch|epochs|norm|time|runtime|seconds|second|sec|tokens|throughput|samples"
    r"|memory|mem|mfu|tflops|flos|step|steps|speed"
)


def _words(key: str) -> list[str]:
    return _WORDS.findall(key.lower())


def lower_is_better(key: str) -> bool:
    return any(_LOWER_IS_BETTER.fullmatch(word) for word in _words(key))


def by_rule(keys: Iterable[str], count: int = COUNT_BY_RULE) -> list[str]:
    """Up to ``count`` of ``keys``, the main one first; of the host's metrics none."""

    def rank(key: str) -> tuple[bool, bool, bool, str]:
        words = _words(key)
        is_minor = any(_MINOR.fullmatch(word) for word in words)
        is_loss = "loss" in words or "perplexity" in words or "ppl" in words
        is_evaluation = any(_EVALUATION.fullmatch(word) for word in words)
        return is_minor, not is_loss, not is_evaluation, key

    own = (key for key in keys if key != GPU_UTILIZATION and not key.startswith(PREFIX))
    return sorted(own, key=rank)[:count]


def keys_of(run: Run) -> list[str]:
    """The keys of the metrics that matter and that the run has; ``run.project`` is loaded."""
    named = [key for key in run.project.key_metrics if key in run.metrics]
    return named or by_rule(run.metrics)


@dataclass(frozen=True, slots=True)
class KeyMetric:
    key: str
    last: float
    last_step: int
    best: float | None  # None while every value is NaN
    best_step: int | None
    lower_is_better: bool
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
    lowest = [lower_is_better(key) for key in wanted]
    rows = {row[0]: row for row in SUMMARIES.rows(run_id=run.pk, keys=Texts(wanted), lowest=lowest)}
    lines = sparklines((run.pk, key) for key in rows)
    return [
        KeyMetric(
            key,
            last=rows[key][1],
            last_step=rows[key][2],
            best=rows[key][3],
            best_step=rows[key][4],
            lower_is_better=is_lowest,
            columns=lines.get((run.pk, key), []),
        )
        for key, is_lowest in zip(wanted, lowest, strict=True)
        if key in rows
    ]
