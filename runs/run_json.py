"""Runs as JSON, quickly: one statement, and no serializer over what the database has as JSON.

Programs watch their runs by asking for the detail again and again, and a list of runs with hundreds
of metrics each is mostly numbers that nobody here needs to look at. What is said is what the
serializers say (tests/runs/test_run_json.py), which stay what the schema is made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from django.conf import settings

from runs.status import RunStatus
from trainhub.database import Statement
from trainhub.json_field import rewritten

# As RunSummarySerializer and RunDetailSerializer have them.
SUMMARY: Final = """
    id, project_id, name, status, progress, step, total_steps, model, dataset,
    recipe_id AS recipe, priority, tags::text AS tags, metrics::text AS metrics,
    created_at, started_at, finished_at, updated_at
"""
DETAIL: Final = f"""
    {SUMMARY}, project_version, hyperparameters::text AS hyperparameters,
    jsonb_build_object('gpu_type', gpu_type, 'gpu_count', gpu_count)::text AS resources,
    resumed_from_id AS resumed_from, start_step, gpu_utilization, log_count, status_reason,
    exit_code, stop_requested_at, attempt, restart_count, max_restarts, worker_id AS worker,
    queued_at, reported_at, deleted_at,
    CASE
        WHEN recipe_id IS NULL AND status = '{RunStatus.RUNNING.value}'
            AND reported_at < now() - make_interval(secs => %(silent_seconds)s::float8)
        THEN reported_at
    END AS silent_since,
    CASE WHEN status = '{RunStatus.CANCELLED.value}' THEN finished_at END AS cancelled_at
"""
JSON_COLUMNS: Final = frozenset({"tags", "metrics", "hyperparameters", "resources"})

RUN_DETAIL: Final = Statement(
    f"""
SELECT {DETAIL}
FROM runs_run
WHERE id = %(run_id)s::text AND project_id = %(project_id)s::text
"""  # noqa: S608  put together of our own constants
)
RUN_SUMMARIES: Final = Statement(
    f"""
SELECT {SUMMARY}
FROM runs_run JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (id, place) USING (id)
ORDER BY place
"""  # noqa: S608  put together of our own constants
)


def run_detail(project_id: str, run_id: str) -> bytes | None:
    """The JSON of a run of that project; None if there is none."""
    found = RUN_DETAIL.records(
        project_id=project_id,
        run_id=run_id,
        silent_seconds=settings.EXTERNAL_SILENT_SECONDS,
    )
    return _json(found[0]) if found else None


def run_summaries(ids: Iterable[str]) -> list[orjson.Fragment]:
    """The JSON of each run of ``ids``, in their order, as a list shows it."""
    return [orjson.Fragment(_json(run)) for run in RUN_SUMMARIES.records(ids=list(ids))]


def _json(run: dict[str, Any]) -> bytes:
    for name in JSON_COLUMNS & run.keys():
        run[name] = orjson.Fragment(rewritten(run[name]))
    run["progress"] = round(run["progress"], 4)
    return orjson.dumps(run, option=orjson.OPT_UTC_Z)
