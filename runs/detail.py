"""A run's detail, quickly: one statement, and its JSON written without a serializer.

Programs watch their runs by asking for this again and again. It says what RunDetailSerializer says
(tests/runs/test_detail.py), which stays what the schema is made from.
"""

from __future__ import annotations

from typing import Final

import orjson

from runs.status import RunStatus
from trainhub.database import Statement

DETAIL: Final = Statement(f"""
SELECT
    id, project_id, name, status, progress, step, total_steps, model, dataset,
    recipe_id AS recipe, priority, tags::text AS tags, metrics::text AS metrics,
    created_at, started_at, finished_at, updated_at, project_version,
    hyperparameters::text AS hyperparameters,
    jsonb_build_object('gpu_type', gpu_type, 'gpu_count', gpu_count)::text AS resources,
    resumed_from_id AS resumed_from, start_step, gpu_utilization, log_count, status_reason,
    exit_code, stop_requested_at, attempt, restart_count, max_restarts, worker_id AS worker,
    queued_at, reported_at, deleted_at,
    CASE WHEN status = '{RunStatus.CANCELLED.value}' THEN finished_at END AS cancelled_at
FROM runs_run
WHERE id = %(run_id)s::text AND project_id = %(project_id)s::text
""")  # noqa: S608  put together of our own constants
JSON_COLUMNS: Final = ("tags", "metrics", "hyperparameters", "resources")


def run_detail(project_id: str, run_id: str) -> bytes | None:
    """The JSON of a run of that project; None if there is none."""
    cursor = DETAIL.run(project_id=project_id, run_id=run_id)
    row = cursor.fetchone()
    if row is None:
        return None
    assert cursor.description is not None
    found = dict(zip((column.name for column in cursor.description), row, strict=True))
    for name in JSON_COLUMNS:
        found[name] = orjson.Fragment(found[name])  # as the database has written it
    found["progress"] = round(found["progress"], 4)
    return orjson.dumps(found, option=orjson.OPT_UTC_Z)
