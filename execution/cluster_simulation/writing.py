"""SQL with which a simulation writes what users and workers would: many runs at once, each with its
events, in the rows that the scheduler reads.

``times``: when it happened to each, in Unix seconds.
"""

from __future__ import annotations

from typing import Final

from core.database import Statement
from runs.models import EventKind
from runs.status import RunStatus

SUBMIT: Final = Statement(
    f"""
WITH submitted AS (
    INSERT INTO runs_run (
        id, project_id, project_version, name, recipe_id, model, dataset, hyperparameters,
        gpu_type, gpu_count, pool, kind, preemptible, expected_seconds, priority, tags, status,
        status_reason, stop_kind, progress, step, total_steps, metrics, log_count, start_step,
        attempt, restart_count, max_restarts, script_tokens, executor_state, created_at, queued_at,
        updated_at
    )
    SELECT
        job.id, job.project_id, 1, job.id, job.recipe_id, '', '', '{{}}', %(pool)s::text,
        job.gpu_count, %(pool)s::text, job.kind, job.preemptible = 1, nullif(job.expected, -1),
        job.priority, '{{}}', '{RunStatus.QUEUED.value}', '', '', 0, 0, job.total_steps, '{{}}',
        0, 0, 1, 0, 30000, '{{}}', '{{}}', to_timestamp(job.at), to_timestamp(job.at),
        to_timestamp(job.at)
    FROM unnest(
        %(ids)s::text[], %(projects)s::text[], %(recipes)s::text[], %(kinds)s::text[],
        %(gpu_counts)s::int8[], %(priorities)s::int8[], %(preemptible)s::int8[],
        %(total_steps)s::int8[], %(expected)s::float8[], %(times)s::float8[]
    ) AS job (
        id, project_id, recipe_id, kind, gpu_count, priority, preemptible, total_steps, expected, at
    )
    RETURNING id, created_at
)
INSERT INTO runs_runevent (run_id, kind, from_status, to_status, attempt, reason, created_at)
SELECT
    id, '{EventKind.CREATED.value}', '', '{RunStatus.QUEUED.value}', 1, '', created_at
FROM submitted
"""  # noqa: S608  composed of constants
)
# A worker has started them, and they advance at a steady pace: the end that the scheduler expects
# is extrapolated from two points in time.
BEGIN: Final = Statement(
    """
UPDATE runs_run
SET
    attempt_started_at = to_timestamp(job.at), attempt_start_step = job.step,
    step = job.step + 1, stepped_at = to_timestamp(job.at) + make_interval(secs => job.seconds)
FROM unnest(
    %(ids)s::text[], %(steps)s::int8[], %(seconds)s::float8[], %(times)s::float8[]
) AS job (id, step, seconds, at)
WHERE runs_run.id = job.id
"""
)
_HELD: Final = "greatest(extract(epoch FROM to_timestamp(job.at) - held_since), 0)"
# The GPU time of these holds, by day: as runs/models/gpu_usage.py counts that of one.
_USAGE: Final = """
    INSERT INTO runs_gpuusage (project_id, pool, day, gpu_seconds)
    SELECT
        project_id, pool, day::date,
        sum(gpu_count * extract(
            epoch FROM least(ended, day + interval '1 day') - greatest(began, day)
        ))
    FROM (
        SELECT
            run.project_id, run.pool, run.gpu_count, run.held_since AT TIME ZONE 'UTC' AS began,
            to_timestamp(job.at) AT TIME ZONE 'UTC' AS ended
        FROM runs_run AS run JOIN job ON job.id = run.id
    ) AS hold, generate_series(date_trunc('day', began), ended, interval '1 day') AS day
    GROUP BY project_id, pool, day
    ON CONFLICT (day, project_id, pool)
    DO UPDATE SET gpu_seconds = runs_gpuusage.gpu_seconds + excluded.gpu_seconds
"""
END: Final = Statement(
    f"""
WITH job AS (
    SELECT * FROM unnest(
        %(ids)s::text[], %(statuses)s::text[], %(steps)s::int8[], %(times)s::float8[]
    ) AS job (id, status, step, at)
), usage AS ({_USAGE}), ended AS (
    UPDATE runs_run
    SET
        status = job.status, finished_at = to_timestamp(job.at), worker_id = NULL,
        step = job.step, held_seconds = held_seconds + {_HELD}, held_since = NULL, stop_kind = '',
        updated_at = to_timestamp(job.at)
    FROM job
    WHERE runs_run.id = job.id
    RETURNING runs_run.id, runs_run.status, attempt, updated_at
)
INSERT INTO runs_runevent (run_id, kind, from_status, to_status, attempt, reason, created_at)
SELECT
    id, '{EventKind.STATUS.value}', '{RunStatus.RUNNING.value}', status, attempt, '', updated_at
FROM ended
"""  # noqa: S608
)
# Their node died: they wait for another one, before all that is queued.
LOSE: Final = Statement(
    f"""
WITH job AS (
    SELECT * FROM unnest(%(ids)s::text[], %(steps)s::int8[], %(times)s::float8[])
        AS job (id, step, at)
), usage AS ({_USAGE}), lost AS (
    UPDATE runs_run
    SET
        worker_id = NULL, attempt = attempt + 1, restart_count = restart_count + 1,
        step = job.step, attempt_started_at = NULL, stop_kind = '', stop_requested_at = NULL,
        held_seconds = held_seconds + {_HELD}, held_since = NULL, updated_at = to_timestamp(job.at)
    FROM job
    WHERE runs_run.id = job.id
    RETURNING runs_run.id, attempt, updated_at
)
INSERT INTO runs_runevent (run_id, kind, from_status, to_status, attempt, reason, created_at)
SELECT id, '{EventKind.RECOVERED.value}', '', '', attempt, '', updated_at FROM lost
"""  # noqa: S608
)
# They gave way, with a checkpoint: back in the queue with their place.
YIELD: Final = Statement(
    f"""
WITH job AS (
    SELECT * FROM unnest(%(ids)s::text[], %(steps)s::int8[], %(times)s::float8[])
        AS job (id, step, at)
), usage AS ({_USAGE}), preempted AS (
    UPDATE runs_run
    SET
        status = '{RunStatus.QUEUED.value}', worker_id = NULL, attempt = attempt + 1,
        step = job.step, attempt_started_at = NULL, stop_kind = '', stop_requested_at = NULL,
        held_seconds = held_seconds + {_HELD}, held_since = NULL, updated_at = to_timestamp(job.at)
    FROM job
    WHERE runs_run.id = job.id
    RETURNING runs_run.id, attempt, updated_at
)
INSERT INTO runs_runevent (run_id, kind, from_status, to_status, attempt, reason, created_at)
SELECT
    id, '{EventKind.PREEMPTED.value}', '{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}',
    attempt, '', updated_at
FROM preempted
"""  # noqa: S608
)
STOPPING: Final = Statement(
    f"""
SELECT id FROM runs_run
WHERE status = '{RunStatus.RUNNING.value}' AND worker_id IS NOT NULL AND stop_kind = 'preempt'
"""  # noqa: S608
)
