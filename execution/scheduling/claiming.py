"""Claims runs for a worker, in one short transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heapreplace
from typing import Final

from django.db import DEFAULT_DB_ALIAS, transaction

from core.database import CURRENT_TIME, Statement, Texts
from core.pipeline import Rows, query, together
from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.gpu_use import GpuUse
from execution.scheduling.host_devices import HostDevices
from execution.scheduling.policy import Pass
from execution.scheduling.preemption import preempt_for
from execution.scheduling.quotas import LOCK_QUOTAS, Quotas
from execution.scheduling.rules import Rules, rules_of_settings
from execution.scheduling.stored_queue import (
    INTERRUPTED,
    PRIORITIES,
    Scope,
    StoredQueue,
    waiting,
)
from execution.scheduling.stored_supplies import StoredSupplies
from execution.scheduling.supply import Supply
from runs.executors import executors as executors_by_name
from runs.models import GpuPool, Run, Worker
from runs.models.claim_queries import claim_runs

MAX_BATCH: Final = 64

_FIELDS: Final = [field.attname for field in GpuPool._meta.concrete_fields]
# Whoever allocates GPUs waits for whoever else does.
LOCK_POOLS: Final = Statement(
    f"SELECT {', '.join(_FIELDS)} FROM runs_gpupool ORDER BY name FOR NO KEY UPDATE"  # noqa: S608
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
        wanted = [name for name in worker.executors if executors is None or name in executors]
        in_queues = executors is not None and all(has_queue(name) for name in wanted)
        wanted = [name for name in wanted if has_queue(name) is in_queues]
        in_schedulers = in_queues and all(schedules(name) for name in wanted)
        wanted = [name for name in wanted if schedules(name) is in_schedulers]
        rules = rules or rules_of_settings()
        state = _State.read(worker, wanted, rules)
        if not state.recipes:
            return []
        counted = None if in_schedulers else state.pools
        claiming = _Claiming(worker, counted, state, slots, rules)
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
class _State:
    """What a claim reads of the tables whatever it decides, and locks. ``recipes``: that the worker
    can execute, each with its executor; ``now``: Unix seconds."""

    pools: dict[str, GpuPool]
    recipes: dict[str, str]
    now: float
    use: GpuUse
    has_quotas: bool
    interrupted: Rows
    priorities: Rows

    @classmethod
    def read(cls, worker: Worker, executors: Collection[str], rules: Rules) -> _State:
        pools, recipes, [[now]], held, used, quotas, interrupted, priorities = together(
            query(LOCK_POOLS),
            query(RECIPES, worker=worker.pk, executors=Texts(executors)),
            query(CURRENT_TIME),
            *GpuUse.queries(rules.fair_share_days),
            query(LOCK_QUOTAS),
            query(INTERRUPTED),
            query(PRIORITIES),
        )
        found = [GpuPool.from_db(DEFAULT_DB_ALIAS, _FIELDS, row) for row in pools]
        return cls(
            pools={pool.name: pool for pool in found},
            recipes=dict(recipes),
            now=now.timestamp(),
            use=GpuUse.of(held, used, rules.fair_share_days),
            has_quotas=bool(quotas),
            interrupted=interrupted,
            priorities=priorities,
        )


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
        state: _State,
        slots: int,
        rules: Rules,
    ) -> None:
        self._rules = rules
        self._worker = worker
        self._pools = pools
        self._now = state.now
        self._use = state.use
        self.devices = HostDevices(worker, lock=True)
        self._scope = Scope(
            recipes=list(state.recipes),
            device_recipes=[pk for pk, name in state.recipes.items() if uses_devices(name)],
            usage=state.use.usage(),
            quotas=Quotas.read(state.use) if state.has_quotas else Quotas(),
            batch=min(slots, MAX_BATCH),
        )
        self._waiting = waiting(self._scope, state.interrupted, state.priorities)
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
        passes = {}
        for name, runs in self._waiting.items():
            if self._serves(name):
                supplies = self._supplies(name, self._use)
                queue = StoredQueue(name, self._scope, runs, supplies.capacity())
                passes[name] = Pass(queue, supplies, self._now, backfills=self._rules.backfills)
        return passes

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
