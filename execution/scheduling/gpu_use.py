"""What runs hold and have used of the GPUs: by pool and project, in two statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from core.database import Statement
from core.pipeline import Query, Rows, query, together
from execution.scheduling.supply import Hold, Release, Supply
from runs.models import RecipeKind, Worker
from runs.status import RunStatus

# Runs that workers hold, with the GPU time of their present holds within the window and the month.
# One that waits in its cluster has its GPUs, so that no other run is sent there for them, but has
# used none. (Seconds are subtracted rather than timestamps, and projects, whose collation is C, are
# compared before pools: together they halve the time.)
HELD: Final = Statement(
    f"""
WITH month AS MATERIALIZED (
    SELECT
        date_part('epoch', statement_timestamp()) AS now,
        date_part(
            'epoch', statement_timestamp() - date_trunc('month', statement_timestamp(), 'UTC')
        ) AS seconds
)
SELECT
    pool, project_id, sum(gpu_count)::int8,
    coalesce(sum(gpu_count) FILTER (WHERE kind = '{RecipeKind.EVALUATION.value}'), 0)::int8,
    coalesce(sum(
        gpu_count * least(now - held_at, %(window_seconds)s::float8)
    ) FILTER (WHERE held_at IS NOT NULL), 0),
    coalesce(sum(
        gpu_count * least(now - held_at, month.seconds)
    ) FILTER (WHERE held_at IS NOT NULL), 0)
FROM (
    SELECT pool, project_id, gpu_count, kind, date_part('epoch', held_since) AS held_at
    FROM runs_run
    WHERE status = '{RunStatus.RUNNING.value}' AND worker_id IS NOT NULL AND gpu_count > 0
    UNION ALL
    SELECT pool, project_id, gpu_count, kind, NULL
    FROM runs_run
    WHERE status = '{RunStatus.QUEUED.value}' AND worker_id IS NOT NULL AND gpu_count > 0
) AS held, month
GROUP BY project_id, pool
"""  # noqa: S608  composed of constants
)
# The time of holds that are over. Of the first day of the window, the part that is within it.
USED: Final = Statement(
    """
WITH since AS MATERIALIZED (
    SELECT
        window_start::date AS first_day, month_day,
        1 - date_part('epoch', window_start - window_start::date) / 86400 AS of_first_day
    FROM (
        SELECT
            (statement_timestamp() AT TIME ZONE 'UTC')
                - make_interval(secs => %(window_seconds)s::float8) AS window_start,
            date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC')::date AS month_day
    ) AS now
)
SELECT
    pool, project_id,
    coalesce(sum(gpu_seconds) FILTER (WHERE day > first_day), 0)
        + coalesce(sum(gpu_seconds) FILTER (WHERE day = first_day), 0) * of_first_day,
    coalesce(sum(gpu_seconds) FILTER (WHERE day >= month_day), 0)
FROM runs_gpuusage, since
WHERE day >= least(first_day, month_day)
GROUP BY project_id, pool, of_first_day
"""
)
# When each run that a worker holds is expected to release its GPUs: by its steps if it has
# advanced, else by earlier runs like it. What is overdue, or unknown, is guessed to take as long
# again as it has taken: durations of trainings spread over many orders of magnitude.
EXPECTED_ENDS: Final = Statement(
    f"""
SELECT
    extract(epoch FROM CASE
        WHEN stop_requested_at IS NOT NULL THEN now + interval '1 minute'
        WHEN expected > now THEN expected
        ELSE now + greatest(now - held_since, interval '1 minute')
    END)::float8,
    gpu_count::int8, kind = '{RecipeKind.EVALUATION.value}', pool = %(pool)s::text,
    host = %(host)s::text AND devices <> '{{}}', recipe_id,
    CASE WHEN stop_requested_at IS NULL AND expected > now THEN planned_seconds END
FROM (
    SELECT
        run.*, worker.host, statement_timestamp() AS now,
        CASE
            WHEN step_seconds IS NULL
            THEN coalesce(run.held_since, statement_timestamp()) + make_interval(
                secs => CASE WHEN run.expected_seconds > 1e9 THEN 1e9 ELSE run.expected_seconds END
            )
            ELSE run.attempt_started_at
                + make_interval(secs => least(step_seconds * (run.total_steps - base), 1e9))
        END AS expected,
        CASE
            WHEN step_seconds IS NULL THEN run.expected_seconds
            ELSE step_seconds * (run.total_steps - run.start_step)
        END AS planned_seconds
    FROM runs_run AS run
    JOIN runs_worker AS worker ON worker.id = run.worker_id,
        LATERAL (SELECT coalesce(run.attempt_start_step, run.start_step) AS base) AS attempt,
        LATERAL (
            SELECT CASE
                WHEN run.total_steps > base AND run.step > base
                    AND run.stepped_at > run.attempt_started_at
                THEN date_part('epoch', run.stepped_at - run.attempt_started_at)
                    / (run.step - base)
            END AS step_seconds
        ) AS pace
    WHERE run.status IN ('{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}')
        AND run.worker_id IS NOT NULL AND run.gpu_count > 0
        AND (run.pool = %(pool)s::text OR worker.host = %(host)s::text)
) AS held
"""  # noqa: S608  composed of constants
)


def expected_ends(pool: str, host: str = "") -> list[Hold]:
    """Of the runs that hold GPUs of the pool, or devices of the host."""
    rows = EXPECTED_ENDS.rows(pool=pool, host=host)
    return [
        Hold(Release(at, count), is_evaluation, in_pool, on_host, recipe_id or "", planned_seconds)
        for at, count, is_evaluation, in_pool, on_host, recipe_id, planned_seconds in rows
    ]


def devices_of_hosts() -> dict[str, Supply]:
    """The devices of each host whose workers are alive and know them. Workers of several containers
    of a machine count as hosts of their own."""
    known: dict[str, set[str]] = defaultdict(set)
    alive = Worker.objects.alive().filter(draining=False, devices__isnull=False)
    for host, devices in alive.values_list("host", "devices"):
        known[host] |= set(devices or ())
    releases: dict[str, list[Release]] = defaultdict(list)
    for host in known:
        releases[host] = [hold.release for hold in expected_ends("", host) if hold.on_host]
    return {host: Supply.of(len(names), releases[host]) for host, names in known.items()}


@dataclass(slots=True)
class GpuUse:
    """(pool, project) -> GPUs that are held, those of them in evaluations, and GPU-seconds in the
    window of fair share and in this month (UTC)."""

    gpus: dict[tuple[str, str], int]
    evaluations: dict[str, int]  # by pool
    window_seconds: dict[tuple[str, str], float]
    month_seconds: dict[tuple[str, str], float]

    @classmethod
    def read(cls, fair_share_days: float) -> GpuUse:
        held, used = together(*cls.queries(fair_share_days))
        return cls.of(held, used, fair_share_days)

    @staticmethod
    def queries(fair_share_days: float) -> tuple[Query, Query]:
        """What ``of`` needs the rows of."""
        window = fair_share_days * 86400.0
        return query(HELD, window_seconds=window), query(USED, window_seconds=window)

    @classmethod
    def of(cls, held: Rows, used: Rows, fair_share_days: float) -> GpuUse:
        gpus: dict[tuple[str, str], int] = {}
        evaluations: dict[str, int] = defaultdict(int)
        in_window: dict[tuple[str, str], float] = defaultdict(float)
        in_month: dict[tuple[str, str], float] = defaultdict(float)
        for pool, project, count, evaluating, recently, this_month in held:
            gpus[pool, project] = count
            evaluations[pool] += evaluating
            in_window[pool, project] += max(0.0, recently)
            in_month[pool, project] += max(0.0, this_month)
        for pool, project, recently, this_month in used:
            in_window[pool, project] += recently
            in_month[pool, project] += this_month
        if not fair_share_days:
            in_window.clear()
        return cls(gpus, evaluations, in_window, in_month)

    def usage(self) -> dict[str, float]:
        """GPU-seconds of each project in the window, in all pools: what fair share orders by."""
        used: dict[str, float] = defaultdict(float)
        for (_pool, project), seconds in self.window_seconds.items():
            used[project] += seconds
        return used

    def in_pool(self, pool: str) -> int:
        return sum(count for (name, _project), count in self.gpus.items() if name == pool)

    def held(self, project_id: str, pool: str | None) -> int:
        """GPUs that the project holds in the pool; None: in all."""
        return int(_sum(self.gpus.items(), project_id, pool))

    def month(self, project_id: str, pool: str | None) -> float:
        """GPU-seconds of the project in the pool this month; None: in all."""
        return _sum(self.month_seconds.items(), project_id, pool)


def _sum(
    items: Iterable[tuple[tuple[str, str], float]], project_id: str, pool: str | None
) -> float:
    return sum(
        amount
        for (name, project), amount in items
        if project == project_id and pool in {None, name}
    )
