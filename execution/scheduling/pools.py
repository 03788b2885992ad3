"""How much of each pool is in use."""

from __future__ import annotations

from dataclasses import dataclass

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


def pool_uses() -> list[PoolUse]:
    """Every pool, with how many of its GPUs the runs of workers use."""
    used = Run.objects.gpus_in_use()
    return [PoolUse(pool, used.get(pool.name, 0)) for pool in GpuPool.objects.all()]
