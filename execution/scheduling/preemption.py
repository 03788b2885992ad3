"""Runs that give up their GPUs to one of a higher priority."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from core.database import Statement
from execution.scheduling.candidate import Candidate
from runs.interruptions import preemption
from runs.models import Run, StopKind, Worker
from runs.status import RunStatus

logger = logging.getLogger(__name__)

# The GPUs of a pool that are free, or that runs are about to release because they stop; of a run
# that uses devices of its worker's host, those of the host also.
COMING: Final = Statement(
    f"""
SELECT
    coalesce((SELECT capacity FROM runs_gpupool WHERE name = %(pool)s::text), 0)::int8
    - coalesce(sum(gpu_count) FILTER (WHERE stop_requested_at IS NULL), 0)::int8
FROM runs_run
WHERE status IN ('{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}')
    AND worker_id IS NOT NULL AND pool = %(pool)s::text
"""  # noqa: S608  composed of constants
)
# The least urgent first, and of these the ones that lose the least: those that still wait in their
# cluster, then the last to have started.
VICTIMS: Final = Statement(
    f"""
SELECT run.id, run.gpu_count::int8
FROM runs_run AS run JOIN runs_worker AS worker ON worker.id = run.worker_id
WHERE run.status IN ('{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}')
    AND run.worker_id IS NOT NULL AND run.pool = %(pool)s::text AND run.preemptible
    AND run.priority < %(priority)s::int8 AND run.stop_requested_at IS NULL AND run.gpu_count > 0
    AND (%(host)s::text = '' OR worker.host = %(host)s::text)
ORDER BY run.priority, run.held_since DESC NULLS FIRST, run.id
"""  # noqa: S608
)


def preempt_for(head: Candidate, pool: str, worker: Worker) -> list[str]:
    """Ask preemptible runs of the pool to stop, as many as ``head`` needs, if that is enough for
    it. Call in the transaction that has locked the pool. Returns their IDs."""
    if not pool or not head.place.is_queued:
        return []
    host = worker.host if head.uses_devices else ""
    priority = -head.place.descending_priority
    victims = VICTIMS.rows(pool=pool, priority=priority, host=host)
    if not victims:
        return []
    [[coming]] = COMING.rows(pool=pool)
    chosen = smallest_set(victims, head.gpu_count - coming)
    for pk in chosen:
        _stop(pk, head, priority)
    return chosen


def smallest_set(victims: Sequence[tuple[str, int]], needed: int) -> list[str]:
    """Of ``victims`` (ID and GPUs, in the order in which to stop them), those that release
    ``needed`` GPUs; none if all together do not. None of them could be left out."""
    chosen: list[tuple[str, int]] = []
    total = 0
    for victim in victims:
        if total >= needed:
            break
        chosen.append(victim)
        total += victim[1]
    if total < needed:
        return []
    kept = []
    for pk, count in reversed(chosen):  # the most urgent goes on if it may
        if total - count >= needed:
            total -= count
        else:
            kept.append(pk)
    return kept[::-1]


def _stop(pk: str, head: Candidate, priority: int) -> None:
    run = Run.objects.filter(pk=pk).select_for_update(skip_locked=True, no_key=True).first()
    if run is None:  # something else happens to it: the next claim looks again
        return
    logger.info("run %s is preempted for %s", pk, head.run_id)
    run.request_stop(StopKind.PREEMPT, by=None, reason=preemption(head.run_id, priority))
