"""Fast JSON of runs: one SQL statement, and no serializer for what the database stores as JSON.

Clients poll a run's detail, and a list of runs with hundreds of metrics each is mostly numbers that
need no processing. The output equals that of the serializers (tests/runs/test_run_json.py), which
define the OpenAPI schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from django.http import Http404

from core.database import Statement
from core.json_field import rewritten
from core.messages import loads
from runs.models import Run
from runs.models.code import code_json
from runs.silence import is_at_work, silent_since
from runs.status import RunStatus

# The fields of RunSummarySerializer and RunDetailSerializer.
SUMMARY: Final = """
    id, project_id, name, status, progress, step, total_steps, model, dataset,
    recipe_id AS recipe, priority, tags::text AS tags, metrics::text AS metrics,
    created_at, started_at, finished_at, updated_at
"""
DETAIL: Final = f"""
    {SUMMARY}, project_version, hyperparameters::text AS hyperparameters, gpu_type, gpu_count,
    pool, preemptible, nodes, time_limit_seconds, estimated_start, devices,
    resumed_from_id AS resumed_from, start_step, gpu_utilization, log_count, status_reason,
    failure_kind, exit_code, stop_requested_at, attempt, restart_count, max_restarts,
    worker_id AS worker, queued_at, attempt_started_at, reported_at, stepped_at, deleted_at,
    bundle_id, origin::text AS origin
"""
JSON_COLUMNS: Final = ("tags", "metrics", "hyperparameters")
WITH_NUMBERS: Final = frozenset({"metrics", "hyperparameters"})  # of any size: see rewritten

RUN_DETAIL: Final = Statement(
    f"""
SELECT {DETAIL}
FROM runs_run LEFT JOIN runs_runcode ON runs_runcode.run_id = runs_run.id
WHERE id = %(run_id)s::text AND project_id = %(project_id)s::text
"""  # noqa: S608  built from constants
)
RUN_SUMMARIES: Final = Statement(
    f"""
SELECT {SUMMARY}
FROM runs_run JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS requested (id, place) USING (id)
ORDER BY place
"""  # noqa: S608  built from constants
)


RUN_EXISTS: Final = Statement(
    "SELECT FROM runs_run WHERE id = %(run_id)s::text AND project_id = %(project_id)s::text"
)


def has_run(project_id: str, run_id: str) -> bool:
    """Whether the project has the run, also one in the trash."""
    return RUN_EXISTS.row(project_id=project_id, run_id=run_id) is not None


def run_detail(project_id: str, run_id: str) -> bytes | None:
    """The JSON of a run of that project; None if there is no such run."""
    run = _detail(project_id, run_id)
    return None if run is None else orjson.dumps(run, option=orjson.OPT_UTC_Z)


def run_with_artifacts(run: Run, artifacts: Sequence[dict[str, Any]] = ()) -> orjson.Fragment:
    """The run's detail plus ``artifacts`` as brief JSON: none for a new run, the kept checkpoint
    for a cancelled one. Raises Http404 if the run has been deleted in the meantime."""
    detail = _detail(run.project_id, run.pk)
    if detail is None:
        raise Http404
    content = {**detail, "artifacts": list(artifacts)}
    return orjson.Fragment(orjson.dumps(content, option=orjson.OPT_UTC_Z))


def _detail(project_id: str, run_id: str) -> dict[str, Any] | None:
    run = RUN_DETAIL.record(project_id=project_id, run_id=run_id)
    if run is None:
        return None
    run["resources"] = {name: run.pop(name) for name in ("gpu_type", "gpu_count", "nodes")}
    sha256, origin = run.pop("bundle_id"), run.pop("origin")
    run["code"] = None if origin is None else code_json(sha256, orjson.loads(origin))
    run["status_reason"] = str(loads(run["status_reason"]))
    status = run["status"]
    started_at = run["attempt_started_at"]
    at_work = is_at_work(status, run["recipe"], started_at)
    run["silent_since"] = silent_since(run["reported_at"], started_at) if at_work else None
    run["cancelled_at"] = run["finished_at"] if status == RunStatus.CANCELLED else None
    return _prepared(run)


def run_summaries(ids: Iterable[str]) -> list[orjson.Fragment]:
    """The summary JSON of each run of ``ids``, in that order."""
    return [
        orjson.Fragment(orjson.dumps(_prepared(run), option=orjson.OPT_UTC_Z))
        for run in RUN_SUMMARIES.records(ids=list(ids))
    ]


def _prepared(run: dict[str, Any]) -> dict[str, Any]:
    for name in JSON_COLUMNS:
        text = run.get(name)
        if text is not None:
            run[name] = orjson.Fragment(rewritten(text) if name in WITH_NUMBERS else text)
    run["progress"] = round(run["progress"], 4)
    return run
