"""Which run is next: interrupted ones first, then by priority and age, if GPUs are free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from runs.models import GpuPool, Recipe, Run, RunQuerySet, Worker
from runs.status import RunStatus


@dataclass(frozen=True)
class PoolUse:
    gpu_type: str
    capacity: int
    used: int

    @property
    def free(self) -> int:
        return self.capacity - self.used


def pool_uses() -> list[PoolUse]:
    """Every pool, with how many of its GPUs the runs of workers use."""
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


def claim(worker: Worker, slots: int) -> list[Run]:
    """Claim up to ``slots`` runs for ``worker``, in one short transaction.

    Concurrent workers never claim the same run: locked rows are skipped. The pools' rows are
    locked, so that two workers do not both allocate the last GPU.
    """
    claimed: list[Run] = []
    with transaction.atomic():
        list(GpuPool.objects.select_for_update().values_list("pk"))
        free = {pool.gpu_type: pool.free for pool in pool_uses()}
        recipes = list(_recipes_for(worker))
        while len(claimed) < slots:
            run = _next(recipes, free)
            if run is None:
                break
            run.claim(worker)
            if run.gpu_type in free:
                free[run.gpu_type] -= run.gpu_count
            claimed.append(run)
    return claimed


def _recipes_for(worker: Worker) -> Iterable[str]:
    """A separate query: with a join, the planner sorts the queue instead of using its index."""
    return Recipe.objects.filter(executor__in=worker.executors).values_list("pk", flat=True)


def _next(recipes: list[str], free: dict[str, int]) -> Run | None:
    interrupted = claimable(Run.objects.running(), recipes, free).order_by("started_at", "id")
    queued = claimable(Run.objects.queued(), recipes, free).in_queue_order()
    return _first(interrupted) or _first(queued)


def claimable(runs: RunQuerySet, recipes: list[str], free: dict[str, int]) -> RunQuerySet:
    """The unclaimed ``runs`` of ``recipes`` whose GPUs fit into the ``free`` ones of their type."""
    runs = runs.filter(worker=None, recipe__in=recipes)
    for gpu_type, count in free.items():
        runs = runs.exclude(gpu_type=gpu_type, gpu_count__gt=max(0, count))
    return runs


def _first(runs: RunQuerySet) -> Run | None:
    return runs.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()


@dataclass(frozen=True)
class Waiting:
    """An unclaimed run and the reason why it waits, as a sentence."""

    run: Run
    reason: str


def queue(limit: int) -> list[Waiting]:
    """The first ``limit`` unclaimed runs, in the order in which they will be claimed."""
    waiting = Run.objects.unclaimed().select_related("recipe", "project")
    interrupted = list(waiting.running().order_by("started_at", "id")[:limit])
    queued = list(waiting.queued().in_queue_order()[: limit - len(interrupted)])
    executors, pools = _executors_alive(), pool_uses()
    return [
        Waiting(run, _reason(run, executors, pools, ahead=ahead))
        for ahead, run in enumerate(interrupted + queued)
    ]


def why_waiting(run: Run) -> str:
    """The reason why an unclaimed run waits, as a sentence."""
    interrupted = Run.objects.unclaimed().running()
    if run.status == RunStatus.QUEUED:
        before = Run.objects.queued().filter(
            Q(priority__gt=run.priority) | Q(priority=run.priority, queued_at__lt=run.queued_at)
        )
        ahead = interrupted.count() + before.count()
    else:
        ahead = interrupted.filter(started_at__lt=run.started_at).count()
    return _reason(run, _executors_alive(), pool_uses(), ahead=ahead)


def _executors_alive() -> set[str]:
    alive = Worker.objects.alive().values_list("executors", flat=True)
    return {executor for executors in alive for executor in executors}


def _reason(run: Run, executors: set[str], pools: list[PoolUse], *, ahead: int) -> str:
    if run.recipe is None or run.recipe.executor not in executors:
        return _("No running worker can execute it.")
    for pool in pools:
        if pool.gpu_type == run.gpu_type and run.gpu_count > pool.capacity:
            return _(
                "It requests %(requested)d %(type)s GPUs, but there are only %(capacity)d."
            ) % {
                "requested": run.gpu_count,
                "type": run.gpu_type,
                "capacity": pool.capacity,
            }
        if pool.gpu_type == run.gpu_type and run.gpu_count > pool.free:
            return _("Waiting for %(requested)d %(type)s GPUs; %(free)d are free.") % {
                "requested": run.gpu_count,
                "type": run.gpu_type,
                "free": max(0, pool.free),
            }
    if ahead == 0:
        return _("Next in the queue: a worker will claim it as soon as it has a free slot.")
    return _("Waiting for a free slot; runs ahead of it: %(ahead)d.") % {"ahead": ahead}
