"""SQL that the ORM cannot express: what trials reported at their next rungs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from core.database import Bigints, Statement, Texts
from sweeps.models import SweepTrial


class Report(NamedTuple):
    number: int  # of the trial
    step: int
    value: float
    timestamp_ms: int


# The first step at or beyond the rung at which the metric was reported. Of several values at that
# step the last one counts.
REPORTS: Final = Statement("""
SELECT asked.number, point.step, point.value, point.timestamp_ms
FROM unnest(%(numbers)s::bigint[], %(runs)s::text[], %(steps)s::bigint[])
        AS asked (number, run_id, step)
    JOIN metrics_metricseries AS series
        ON series.run_id = asked.run_id AND series.key = %(key)s::text
    CROSS JOIN LATERAL (
        SELECT step, value, timestamp_ms
        FROM metrics_metricpoint
        WHERE series_id = series.id AND step >= asked.step
        ORDER BY step, timestamp_ms DESC, value DESC
        LIMIT 1
    ) AS point
WHERE series.last_step >= asked.step
ORDER BY point.timestamp_ms, asked.number
""")


def reports(metric: str, trials: Sequence[SweepTrial]) -> list[Report]:
    """What the trials, each with a run and a ``next_step``, reported at that rung, in the order of
    the reports."""
    asked = [trial for trial in trials if trial.run_id is not None and trial.next_step is not None]
    if not asked:
        return []
    rows = REPORTS.rows(
        key=metric,
        numbers=Bigints(trial.number for trial in asked),
        runs=Texts(trial.run_id or "" for trial in asked),
        steps=Bigints(trial.next_step or 0 for trial in asked),
    )
    return [Report(*row) for row in rows]
