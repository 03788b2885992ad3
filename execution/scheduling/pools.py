"""How much of each pool is in use."""

from __future__ import annotations

from dataclasses import dataclass

from runs.executors import executors
from runs.models import GpuPool, Run


@dataclass(frozen=True)
class PoolUse:
    pool: GpuPool
    used: int

    @property
    def name(self) -> str:
        return self.pool.name

    @property
    def capacity(self) -> int:
        return self.pool.capacity

    @property
    def free(self) -> int:
        return self.capacity - self.used


def of_scheduler(pool: GpuPool) -> bool:
    """Whether the pool's cluster counts its GPUs, and TrainHub does not."""
    executor = executors().get(pool.executor)
    return executor is not None and executor.schedules


def pool_uses() -> list[PoolUse]:
    """Every pool, with how many of its GPUs the runs of workers use. Where a cluster does not
    schedule, the runs that it has not started yet have theirs."""
    used, submitted = Run.objects.gpus_in_use(), Run.objects.gpus_submitted()
    return [
        PoolUse(
            pool,
            used.get(pool.name, 0) + (0 if of_scheduler(pool) else submitted.get(pool.name, 0)),
        )
        for pool in GpuPool.objects.all()
    ]
