"""why_not_running and show_queue."""

from __future__ import annotations

from typing import Any

from agents.answers import Answer, text, time
from agents.lookups import RunId, path_of, run_of
from agents.pages import Limit
from agents.tool import Arguments, Caller, tool
from dashboard.cluster_status import pool_rows, waiting_runs
from execution.scheduling.explanation import Explanation, explain_queue
from projects.sight import Sight


class WhyNotRunning(Arguments, frozen=True):
    run: RunId


@tool("Why a run is not running")
def why_not_running(caller: Caller, given: WhyNotRunning) -> Answer:
    """Why a run waits, is paused, or has ended: its place in the queue, what it waits for, when it
    may start; of one that has failed, the reason."""
    run = run_of(caller, given.run)
    found = caller.rest.get(f"{path_of(run)}/explanation")
    content = {
        **found,
        "reason": text(found["reason"], 1000),
        "status_reason": text(run.status_reason, 1000),
        "failure": run.failure_kind,
    }
    return Answer({key: value for key, value in content.items() if value not in (None, "")})


class ShowQueue(Arguments, frozen=True):
    limit: Limit = 20


@tool("Show the queue")
def show_queue(caller: Caller, given: ShowQueue) -> Answer:
    """Which runs wait for GPUs or a worker, in the order of the queue, each with why and its likely
    start; and how many GPUs of each pool are in use. Runs of projects that you do not see are only
    counted."""
    sight = Sight.of(caller.user)
    waiting, others = waiting_runs(sight)
    pools = [
        {
            "name": pool.name,
            "gpus": None if pool.use is None else pool.use.capacity,
            "used": pool.used,
        }
        for pool in pool_rows(sight)
    ]
    content: dict[str, Any] = {
        "pools": pools[:20],
        "waiting_others": {"runs": others.runs, "gpus": others.gpus},
        "queue": [_row(found) for found in explain_queue(given.limit, sight)],
    }
    return Answer(content, rows="queue", total=waiting)


def _row(found: Explanation) -> dict[str, Any]:
    run = found.run
    return {
        "run": run.pk,
        "name": text(run.name, 100),
        "project": run.project_id,
        "pool": run.pool,
        "gpus": run.gpu_count,
        "priority": run.priority,
        "position": found.position,
        "waits_for": found.waits_for.value,
        "reason": text(found.reason),
        "estimated_start": time(found.estimated_start),
    }
