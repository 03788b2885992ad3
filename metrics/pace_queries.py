"""SQL that reads when a run was at which step: a few lookups in the index of its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.database import Bigints, Statement
from core.numbers import MIN_BIGINT
from runs.system_metrics import PREFIX


@dataclass(frozen=True, slots=True)
class Clock:
    """The series of a run that tells best when it was at which step."""

    series_id: int
    # The first step that the current attempt alone has reported, and when. Unix milliseconds.
    first_step: int
    first_ms: int
    last_step: int
    last_ms: int


# The series that is as far as the run and has the most points. Steps up to rewound_to may be of an
# earlier attempt. Those of the host have steps of their own.
CLOCK: Final = Statement(f"""
WITH clock AS (
    SELECT id, last_step, last_timestamp_ms,
        greatest(coalesce(rewound_to, {MIN_BIGINT}), %(after)s::bigint) AS after
    FROM metrics_metricseries
    WHERE run_id = %(run_id)s::text AND count > 1 AND last_step >= 1
        AND NOT starts_with(key, '{PREFIX}')
    ORDER BY last_step = %(step)s::bigint DESC, count DESC, key
    LIMIT 1
)
SELECT clock.id, first.step, first.timestamp_ms, clock.last_step, clock.last_timestamp_ms
FROM clock CROSS JOIN LATERAL (
    SELECT step, timestamp_ms
    FROM metrics_metricpoint
    WHERE series_id = clock.id AND step > clock.after
    ORDER BY step, timestamp_ms
    LIMIT 1
) AS first
""")  # noqa: S608  built from constants


def clock(run_id: str, *, step: int, after: int) -> Clock | None:
    """``step``: where the run is. ``after``: the step that its attempt has started from."""
    row = CLOCK.row(run_id=run_id, step=step, after=after)
    return None if row is None else Clock(*row)


PROBES: Final = Statement("""
SELECT step, timestamp_ms
FROM unnest(%(steps)s::bigint[]) AS asked (at) CROSS JOIN LATERAL (
    SELECT step, timestamp_ms
    FROM metrics_metricpoint
    WHERE series_id = %(series_id)s::bigint AND step <= asked.at
        AND step >= %(first_step)s::bigint
    ORDER BY step DESC, timestamp_ms DESC
    LIMIT 1
) AS point
GROUP BY step, timestamp_ms
ORDER BY step
""")


def times_at(clock: Clock, steps: Sequence[int]) -> list[tuple[int, int]]:
    """The distinct points (step, timestamp_ms) at or next before each of ``steps``."""
    return PROBES.rows(series_id=clock.series_id, first_step=clock.first_step, steps=Bigints(steps))


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
