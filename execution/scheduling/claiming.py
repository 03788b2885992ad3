"""Claims runs for a worker, in one short transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heapreplace
from typing import Final

from django.db import transaction

from core.database import Statement, Texts, current_time
from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.gpu_use import GpuUse
from execution.scheduling.host_devices import HostDevices
from execution.scheduling.policy import Pass
from execution.scheduling.preemption import preempt_for
from execution.scheduling.quotas import Quotas
from execution.scheduling.rules import Rules, rules_of_settings
from execution.scheduling.stored_queue import Scope, StoredQueue, waiting
from execution.scheduling.stored_supplies import StoredSupplies
from execution.scheduling.supply import Supply
from runs.executors import executors as executors_by_name
from runs.models import GpuPool, Run, Worker
from runs.models.claim_queries import claim_runs

MAX_BATCH: Final = 64

_COLUMNS: Final = ", ".join(field.attname for field in GpuPool._meta.concrete_fields)
# Whoever allocates GPUs waits for whoever else does.
LOCK_POOLS: Final = Statement(
    f"SELECT {_COLUMNS} FROM runs_gpupool ORDER BY name FOR NO KEY UPDATE"  # noqa: S608
)
# What the worker can execute, each with its executor; nothing while it drains.
RECIPES: Final = Statement(
    """
SELECT name, executor FROM runs_recipe
WHERE executor = ANY (%(executors)s::text[])
    AND NOT EXISTS (SELECT FROM runs_worker WHERE id = %(worker)s::text AND draining)
"""
)


def claim(worker: Worker, slots: int, *, executors: Collection[str] | None = None) -> list[Run]:
    """The runs of ``claim_ids``, in the same order, as they are then."""
    claimed = claim_ids(worker, slots, executors=executors)
    if not claimed:
        return []
    runs = Run.objects.select_related("recipe", "project", "worker").in_bulk(claimed)
    return [runs[pk] for pk in claimed if pk in runs]


def claim_ids(
    worker: Worker,
    slots: int,
    *,
    executors: Collection[str] | None = None,
    rules: Rules | None = None,
) -> list[str]:
    """Claim up to ``slots`` runs for ``worker``, and ask runs to give up the GPUs that one of a
    higher priority waits for.

    ``executors``: whose runs; by default of all without a queue of their own. Runs of executors
    that have one go there in the order of ours, and stay queued until their cluster starts them: as
    far as quotas allow if it schedules, otherwise as the GPUs of their pools become free.
    ``rules``: by default those of the settings.

    Concurrent workers never claim the same run: locked rows are skipped. The pools' rows, the
    quotas', and those of the workers that share GPUs, are locked, so that no two of them allocate
    the same one. A worker that drains claims nothing.
    """
    with transaction.atomic():
        pools = {row["name"]: GpuPool(**row) for row in LOCK_POOLS.records()}
        wanted = [name for name in worker.executors if executors is None or name in executors]
        in_queues = executors is not None and all(has_queue(name) for name in wanted)
        wanted = [name for name in wanted if has_queue(name) is in_queues]
        in_schedulers = in_queues and all(schedules(name) for name in wanted)
        wanted = [name for name in wanted if schedules(name) is in_schedulers]
        recipes = dict(RECIPES.rows(worker=worker.pk, executors=Texts(wanted)))
        if not recipes:
            return []
        counted = None if in_schedulers else pools
        claiming = _Claiming(worker, counted, recipes, slots, rules or rules_of_settings())
        devices = {}
        for candidate in claiming.chosen(slots):
            count = candidate.gpu_count if candidate.uses_devices else 0
            devices[candidate.run_id] = claiming.devices.take(count)
        claimed = claim_runs(worker, devices, in_queue=in_queues)
        for head in claiming.blocked():
            read_supplies = partial(claiming.supplies_left, head.pool)
            preempt_for(head.candidate, head.pool, worker, read_supplies)
        return [pk for pk in devices if pk in claimed]


def has_queue(name: str) -> bool:
    """Whether the executor has a queue of its own; one that this version does not know has none."""
    executor = executors_by_name().get(name)
    return executor is not None and executor.has_queue


def schedules(name: str) -> bool:
    """Whether the executor's cluster counts the GPUs of its runs, and TrainHub does not."""
    executor = executors_by_name().get(name)
    return executor is not None and executor.schedules


def uses_devices(name: str) -> bool:
    """Whether the runs of this executor occupy GPUs of their worker's host."""
    executor = executors_by_name()[name]
    return not (executor.in_database or executor.has_queue)


@dataclass(frozen=True, slots=True)
class Blocked:
    candidate: Candidate
    pool: str


class _Claiming:
    """What one claim reads, and decides. ``pools``: None if a cluster counts the GPUs."""

    def __init__(
        self,
        worker: Worker,
        pools: dict[str, GpuPool] | None,
        recipes: dict[str, str],
        slots: int,
        rules: Rules,
    ) -> None:
        self._rules = rules
        self._worker = worker
        self._pools = pools
        self._now = current_time().timestamp()
        self.devices = HostDevices(worker, lock=True)
        self._use = GpuUse.read(rules.fair_share_days)
        self._scope = Scope(
            recipes=list(recipes),
            device_recipes=[pk for pk, executor in recipes.items() if uses_devices(executor)],
            usage=self._use.usage(),
            quotas=Quotas.read(self._use, lock=True),
            batch=min(slots, MAX_BATCH),
        )
        self._passes: dict[str, Pass] = {}

    def chosen(self, slots: int) -> Iterator[Candidate]:
        """The runs to start, at most ``slots``; of several pools' next runs the one of the lowest
        place."""
        self._passes = self._begin_passes()
        heads: list[tuple[Place, str, Candidate, Iterator[Candidate]]] = []
        for pool, one in self._passes.items():
            following = iter(one)
            candidate = next(following, None)
            if candidate is not None:
                heads.append((candidate.place, pool, candidate, following))
        heapify(heads)
        while heads and slots > 0:
            _place, pool, candidate, following = heads[0]
            yield candidate
            slots -= 1
            successor = next(following, None) if slots else None
            if successor is None:
                heappop(heads)
            else:
                heapreplace(heads, (successor.place, pool, successor, following))

    def blocked(self) -> list[Blocked]:
        """The head of each pool's queue that waits for GPUs."""
        return [
            Blocked(one.blocked, pool)
            for pool, one in self._passes.items()
            if one.blocked is not None
        ]

    def _begin_passes(self) -> dict[str, Pass]:
        return {
            name: Pass(
                StoredQueue(name, self._scope, runs),
                self._supplies(name, self._use),
                self._now,
                backfills=self._rules.backfills,
            )
            for name, runs in waiting(self._scope).items()
            if self._serves(name)
        }

    def _serves(self, name: str) -> bool:
        """Whether the worker executes runs of the pool; of one that was deleted, nobody does."""
        if not name or self._pools is None:
            return True
        pool = self._pools.get(name)
        return pool is not None and (not pool.hosts or self._worker.host in pool.hosts)

    def supplies_left(self, name: str) -> StoredSupplies:
        """What the claim has left of the GPUs, once its runs are stored."""
        return self._supplies(name, GpuUse.read(self._rules.fair_share_days))

    def _supplies(self, name: str, use: GpuUse) -> StoredSupplies:
        known = self._worker.devices
        host = None
        if self._scope.device_recipes and known is not None:
            host = Supply(len(known), self.devices.free or 0)
        pool = None if self._pools is None else self._pools.get(name)
        if pool is None:
            return StoredSupplies(host=host, name=name, host_name=self._worker.host)
        used, evaluating = use.in_pool(name), use.evaluations.get(name, 0)
        common = pool.capacity - pool.reserve
        return StoredSupplies(
            pool=Supply(pool.capacity, pool.capacity - used),
            common=Supply(common, common - (used - evaluating)),
            host=host,
            reserve=pool.reserve,
            name=name,
            host_name=self._worker.host,
            pool_hosts=pool.hosts,
        )
