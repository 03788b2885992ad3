"""SQL that sums up for how long runs have held GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.database import Statement
from projects.sight import Sight
from runs.models.event import ARRIVALS, LEAVINGS
from runs.status import TERMINAL, RunStatus


@dataclass(frozen=True, slots=True)
class GpuSeconds:
    """What the runs that one person has created in one project have held, in GPU-seconds."""

    project_id: str
    user_id: int | None
    recent: float
    all: float


_MARKS: Final = ", ".join(f"'{kind.value}'" for kind in (*ARRIVALS, *LEAVINGS))
_BEGINS: Final = ", ".join(f"'{kind.value}'" for kind in ARRIVALS)
_ENDS: Final = ", ".join(f"'{status.value}'" for status in sorted(TERMINAL))

# A worker holds the GPUs of a run from its claim until it has ended, is released or recovered: the
# time in the queue between two attempts does not count. Of a script elsewhere only start and end
# are known.
_GPU_SECONDS: Final = f"""
WITH asked AS (
    SELECT id, project_id, created_by_id, gpu_count, recipe_id, started_at, finished_at
    FROM runs_run
    WHERE gpu_count > 0 AND finished_at > %(since)s::timestamptz
    UNION ALL
    SELECT id, project_id, created_by_id, gpu_count, recipe_id, started_at, finished_at
    FROM runs_run
    WHERE gpu_count > 0 AND status = '{RunStatus.RUNNING.value}'
), visible AS (
    SELECT * FROM asked
    WHERE %(visible)s::text[] IS NULL OR project_id = ANY(%(visible)s::text[])
), mark AS (
    SELECT
        event.run_id,
        event.kind IN ({_BEGINS}) AS begins,
        event.created_at AS began,
        lead(event.created_at) OVER (PARTITION BY event.run_id ORDER BY event.id) AS ended
    FROM visible JOIN runs_runevent AS event ON event.run_id = visible.id
    WHERE event.kind IN ({_MARKS}) OR event.to_status IN ({_ENDS})
), held AS (
    SELECT project_id, created_by_id, gpu_count, began, ended
    FROM visible JOIN mark ON mark.run_id = visible.id
    WHERE begins
    UNION ALL
    SELECT project_id, created_by_id, gpu_count, started_at, finished_at
    FROM visible
    WHERE recipe_id IS NULL AND started_at IS NOT NULL
), clipped AS (
    SELECT
        project_id, created_by_id, gpu_count, began,
        least(coalesce(ended, %(now)s::timestamptz), %(now)s::timestamptz) AS ended
    FROM held
)
SELECT
    project_id,
    created_by_id,
    coalesce(sum(gpu_count * extract(epoch FROM
        ended - greatest(began, %(recent)s::timestamptz)
    )) FILTER (WHERE ended > greatest(began, %(recent)s::timestamptz)), 0)::float8,
    sum(gpu_count * extract(epoch FROM ended - greatest(began, %(since)s::timestamptz)))::float8
        AS seconds
FROM clipped
WHERE ended > greatest(began, %(since)s::timestamptz)
GROUP BY project_id, created_by_id
ORDER BY seconds DESC, project_id, created_by_id
LIMIT %(limit)s::bigint
"""  # noqa: S608  composed of constants
GPU_SECONDS: Final = Statement(_GPU_SECONDS)


def gpu_seconds(
    *, since: datetime, recent: datetime, now: datetime, sight: Sight, limit: int
) -> list[GpuSeconds]:
    """The ``limit`` largest visible sums since ``since``; ``recent``, which is later: since when
    each also says how much."""
    rows = GPU_SECONDS.rows(since=since, recent=recent, now=now, visible=sight.ids, limit=limit)
    return [GpuSeconds(*row) for row in rows]
