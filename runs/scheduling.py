"""Which run is next: first those that were interrupted, then by priority and age, if GPUs are free."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from runs.models import GpuPool, Run, RunQuerySet, Worker


@dataclass(frozen=True)
class PoolUse:
    gpu_type: str
    capacity: int
    used: int

    @property
    def free(self) -> int:
        return self.capacity - self.used


def pool_uses() -> list[PoolUse]:
    """Every pool, with what the runs that workers hold take of it."""
    used = dict(
        Run.objects.running()
        .exclude(worker=None)
        .values_list("gpu_type")
        .annotate(total=Sum("gpu_count"))
        .order_by()
    )
    return [
        PoolUse(pool.gpu_type, pool.capacity, used.get(pool.gpu_type, 0))
        for pool in GpuPool.objects.all()
    ]


def claim(worker: Worker, seats: int) -> list[Run]:
    """Claim up to ``seats`` runs for ``worker``, in one short transaction.

    Workers side by side never take the same run: rows are skipped while another holds them. The
    pools' rows are locked, so that two workers do not both hand out the last GPU.
    """
    claimed: list[Run] = []
    with transaction.atomic():
        list(GpuPool.objects.select_for_update().values_list("pk"))
        while len(claimed) < seats:
            run = _next(worker)
            if run is None:
                break
            run.claim(worker)
            claimed.append(run)
    return claimed


def _next(worker: Worker) -> Run | None:
    waiting = Run.objects.unclaimed().filter(recipe__executor__in=worker.executors)
    for pool in pool_uses():
        waiting = waiting.exclude(gpu_type=pool.gpu_type, gpu_count__gt=max(0, pool.free))
    return _first(waiting.running().order_by("started_at", "id")) or _first(
        waiting.queued().in_queue_order()
    )


def _first(runs: RunQuerySet) -> Run | None:
    return (
        runs.select_related("recipe", "project")
        .select_for_update(skip_locked=True, no_key=True, of=("self",))
        .first()
    )


def why_waiting(run: Run) -> str:
    """In a sentence, why an unclaimed run is not being worked on."""
    if not Worker.objects.alive().filter(executors__contains=[run.recipe.executor]).exists():
        return _("No worker that can execute it is alive.")
    for pool in pool_uses():
        if pool.gpu_type == run.gpu_type and run.gpu_count > pool.capacity:
            return _("It asks for %(asked)d %(type)s GPUs, and there are only %(capacity)d.") % {
                "asked": run.gpu_count,
                "type": run.gpu_type,
                "capacity": pool.capacity,
            }
        if pool.gpu_type == run.gpu_type and run.gpu_count > pool.free:
            return _("It waits for %(asked)d %(type)s GPUs; %(free)d are free.") % {
                "asked": run.gpu_count,
                "type": run.gpu_type,
                "free": max(0, pool.free),
            }
    ahead = Run.objects.queued().filter(
        Q(priority__gt=run.priority) | Q(priority=run.priority, queued_at__lt=run.queued_at)
    )
    return _("It waits for a free seat; %(ahead)d runs are ahead of it.") % {"ahead": ahead.count()}
