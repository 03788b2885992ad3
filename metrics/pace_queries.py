"""SQL that reads when a run was at which step: a few lookups in the index of its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.database import Bigints, Statement, Texts
from core.numbers import MIN_BIGINT
from runs.system_metrics import PREFIX


@dataclass(frozen=True, slots=True)
class Clock:
    """The series of a run that tells best when it was at which step."""

    run_id: str
    series_id: int
    # The first step that the current attempt alone has reported, and when. Unix milliseconds.
    first_step: int
    first_ms: int
    last_step: int
    last_ms: int


# The series that is as far as the run and has the most points. Steps up to rewound_to may be of an
# earlier attempt. Those of the host have steps of their own.
CLOCKS: Final = Statement(f"""
SELECT asked.run_id, clock.id, first.step, first.timestamp_ms, clock.last_step,
    clock.last_timestamp_ms
FROM unnest(%(run_ids)s::text[], %(steps)s::bigint[], %(after)s::bigint[])
        AS asked (run_id, step, after)
    CROSS JOIN LATERAL (
        SELECT id, last_step, last_timestamp_ms,
            greatest(coalesce(rewound_to, {MIN_BIGINT}), asked.after) AS after
        FROM metrics_metricseries
        WHERE run_id = asked.run_id AND count > 1 AND last_step >= 1
            AND NOT starts_with(key, '{PREFIX}')
        ORDER BY last_step = asked.step DESC, count DESC, key
        LIMIT 1
    ) AS clock
    CROSS JOIN LATERAL (
        SELECT step, timestamp_ms
        FROM metrics_metricpoint
        WHERE series_id = clock.id AND step > clock.after
        ORDER BY step, timestamp_ms
        LIMIT 1
    ) AS first
""")  # noqa: S608  built from constants


def clocks(places: Sequence[tuple[str, int, int]]) -> list[Clock]:
    """``places``: (run, the step where it is, the step that its attempt has started from). Runs
    without one are left out."""
    rows = CLOCKS.rows(
        run_ids=Texts([run_id for run_id, _step, _after in places]),
        steps=Bigints([step for _run_id, step, _after in places]),
        after=Bigints([after for _run_id, _step, after in places]),
    )
    return [Clock(*row) for row in rows]


PROBES: Final = Statement("""
SELECT asked.series_id, point.step, point.timestamp_ms
FROM unnest(%(series_ids)s::bigint[], %(first_steps)s::bigint[], %(steps)s::bigint[])
        AS asked (series_id, first_step, at)
    CROSS JOIN LATERAL (
        SELECT step, timestamp_ms
        FROM metrics_metricpoint
        WHERE series_id = asked.series_id AND step <= asked.at AND step >= asked.first_step
        ORDER BY step DESC, timestamp_ms DESC
        LIMIT 1
    ) AS point
GROUP BY asked.series_id, point.step, point.timestamp_ms
ORDER BY asked.series_id, point.step
""")


def times_at(places: Sequence[tuple[Clock, Sequence[int]]]) -> dict[str, list[tuple[int, int]]]:
    """Run → the distinct points (step, timestamp_ms) of its clock at or next before each of its
    steps."""
    asked = [(clock, step) for clock, steps in places for step in steps]
    found: dict[str, list[tuple[int, int]]] = {clock.run_id: [] for clock, _steps in places}
    owners = {clock.series_id: clock.run_id for clock, _steps in places}
    rows = PROBES.rows(
        series_ids=Bigints([clock.series_id for clock, _step in asked]),
        first_steps=Bigints([clock.first_step for clock, _step in asked]),
        steps=Bigints([step for _clock, step in asked]),
    )
    for series_id, step, ms in rows:
        found[owners[series_id]].append((step, ms))
    return found


TIME_OF_STEP: Final = Statement(f"""
WITH reaching AS (
    SELECT id
    FROM metrics_metricseries
    WHERE run_id = %(run_id)s::text AND last_step >= %(step)s::bigint
        AND NOT starts_with(key, '{PREFIX}')
    ORDER BY count DESC, key
    LIMIT 1
)
SELECT timestamp_ms
FROM reaching CROSS JOIN LATERAL (
    SELECT timestamp_ms
    FROM metrics_metricpoint
    WHERE series_id = reaching.id AND step >= %(step)s::bigint
    ORDER BY step, timestamp_ms
    LIMIT 1
) AS point
""")  # noqa: S608  built from constants


def time_of_step(run_id: str, step: int) -> int | None:
    """When the run first reported this step, or the next one that it reported: Unix milliseconds;
    None if it has reported none so late."""
    row = TIME_OF_STEP.row(run_id=run_id, step=step)
    return None if row is None else int(row[0])


RECENT: Final = Statement("""
SELECT timestamp_ms, value
FROM metrics_metricpoint
WHERE series_id = (
    SELECT id FROM metrics_metricseries
    WHERE run_id = %(run_id)s::text AND key = %(key)s::text
)
ORDER BY step DESC, timestamp_ms DESC, value DESC
LIMIT %(limit)s::bigint
""")


def recent_points(run_id: str, key: str, limit: int) -> list[tuple[int, float]]:
    """The last points (timestamp_ms, value) of a metric, the newest first."""
    return RECENT.rows(run_id=run_id, key=key, limit=limit)
