"""Runs that give up their GPUs to one of a higher priority."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from core.database import Statement
from execution.scheduling.candidate import Candidate
from execution.scheduling.stored_supplies import StoredSupplies
from execution.scheduling.supply import Hold, Release
from runs.interruptions import preemption, preemption_by_another_project
from runs.models import RecipeKind, Run, StopKind, Worker
from runs.status import RunStatus

logger = logging.getLogger(__name__)

# What runs are about to release because they stop: of the pool, and of the worker's host.
STOPPING: Final = Statement(
    f"""
SELECT
    run.gpu_count::int8, run.kind = '{RecipeKind.EVALUATION.value}', run.pool = %(pool)s::text,
    worker.host = %(host)s::text AND run.devices <> '{{}}'
FROM runs_run AS run JOIN runs_worker AS worker ON worker.id = run.worker_id
WHERE run.status IN ('{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}')
    AND run.worker_id IS NOT NULL AND run.stop_requested_at IS NOT NULL AND run.gpu_count > 0
    AND (run.pool = %(pool)s::text OR worker.host = %(host)s::text)
"""  # noqa: S608  composed of constants
)
# The devices that such runs release, by host.
STOPPING_ON_HOSTS: Final = Statement(
    f"""
SELECT worker.host, sum(run.gpu_count)::int8
FROM runs_run AS run JOIN runs_worker AS worker ON worker.id = run.worker_id
WHERE run.status = '{RunStatus.RUNNING.value}' AND run.stop_requested_at IS NOT NULL
    AND run.devices <> '{{}}'
GROUP BY worker.host
"""  # noqa: S608
)
# The least urgent first, and of these the ones that lose the least: those that still wait in their
# cluster, then the last to have started.
VICTIMS: Final = Statement(
    f"""
SELECT
    run.id, run.gpu_count::int8, run.kind = '{RecipeKind.EVALUATION.value}',
    worker.host = %(host)s::text AND run.devices <> '{{}}'
FROM runs_run AS run JOIN runs_worker AS worker ON worker.id = run.worker_id
WHERE run.status IN ('{RunStatus.RUNNING.value}', '{RunStatus.QUEUED.value}')
    AND run.worker_id IS NOT NULL AND run.pool = %(pool)s::text AND run.preemptible
    AND run.priority < %(priority)s::int8 AND run.stop_requested_at IS NULL AND run.gpu_count > 0
ORDER BY run.priority, run.held_since DESC NULLS FIRST, run.id
"""  # noqa: S608
)


def preempt_for(
    head: Candidate, pool: str, worker: Worker, read_supplies: Callable[[], StoredSupplies]
) -> list[str]:
    """Ask preemptible runs of the pool to stop, as many as ``head`` needs, if it then fits.

    ``read_supplies``: reads what is free for the pool's runs on the worker's host. Call in the
    transaction that has locked the pool. Returns the IDs of the runs.
    """
    if not pool or not head.place.is_queued:
        return []
    priority = -head.place.descending_priority
    victims = VICTIMS.rows(pool=pool, priority=priority, host=worker.host)
    if not victims:
        return []
    # Before what is free: one that ends in between may be in both, which only postpones this.
    stopping = STOPPING.rows(pool=pool, host=worker.host)
    supplies = read_supplies()
    for count, is_evaluation, in_pool, on_host in stopping:
        supplies.release(Hold(Release(0.0, count), is_evaluation, in_pool, on_host))
    if supplies.fits(head) or _is_freed_elsewhere(head, supplies):
        return []
    chosen = smallest_set(
        [
            (pk, supplies.released(head, Hold(Release(0.0, count), is_evaluation, True, on_host)))
            for pk, count, is_evaluation, on_host in victims
        ],
        supplies.missing(head),
    )
    for pk in chosen:
        _stop(pk, head, priority)
    return chosen


def _is_freed_elsewhere(head: Candidate, supplies: StoredSupplies) -> bool:
    """Whether runs stop on another host, which then has the devices that ``head`` lacks here."""
    if not supplies.lacks_devices(head):
        return False
    stopping = dict(STOPPING_ON_HOSTS.rows())
    return any(
        supply.free + stopping.get(host, 0) >= head.gpu_count
        for host, supply in supplies.other_hosts().items()
    )


def smallest_set(victims: Sequence[tuple[str, Sequence[int]]], needed: Sequence[int]) -> list[str]:
    """Of ``victims`` (ID and GPUs of each supply, in the order in which to stop them), those that
    release what is ``needed`` of each supply; none if all together do not. None of them could be
    left out."""
    chosen: list[tuple[str, Sequence[int]]] = []
    missing = list(needed)  # not positive: released
    for pk, counts in victims:
        if any(min(count, short) > 0 for count, short in zip(counts, missing, strict=True)):
            chosen.append((pk, counts))
            missing = [short - count for count, short in zip(counts, missing, strict=True)]
    if max(missing) > 0:
        return []
    kept = []
    for pk, counts in reversed(chosen):  # the most urgent goes on if it may
        without = [short + count for count, short in zip(counts, missing, strict=True)]
        if max(without) <= 0:
            missing = without
        else:
            kept.append(pk)
    return kept[::-1]


def _stop(pk: str, head: Candidate, priority: int) -> None:
    run = Run.objects.filter(pk=pk).select_for_update(skip_locked=True, no_key=True).first()
    if run is None:  # something else happens to it: the next claim looks again
        return
    logger.info("run %s is preempted for %s", pk, head.run_id)
    reason = (
        preemption(head.run_id, priority)
        if head.project_id == run.project_id
        else preemption_by_another_project(priority)
    )
    run.request_stop(StopKind.PREEMPT, by=None, reason=reason)
