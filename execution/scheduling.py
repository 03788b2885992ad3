"""Which run is next: interrupted ones first, then by priority and age, if GPUs are free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count as numbers
from itertools import islice
from typing import TypeAlias

from django.db import transaction
from django.db.models import Exists, Q
from django.utils.translation import gettext as _

from runs.executors import executors as executors_by_name
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
    used = Run.objects.gpus_in_use()
    return [
        PoolUse(pool.gpu_type, pool.capacity, used.get(pool.gpu_type, 0))
        for pool in GpuPool.objects.all()
    ]


@dataclass
class UsedDevices:
    """What is in use of the GPUs that a worker may assign. A device is recognized by its UUID where
    both sides know it, otherwise by its name on the host."""

    uuids: set[str]
    names: set[str]
    names_without_uuid: set[str]

    def add(self, name: str, uuid: str) -> None:
        """``name``: a device's on the worker's host."""
        self.names.add(name)
        if uuid:
            self.uuids.add(uuid)
        else:
            self.names_without_uuid.add(name)

    def has(self, name: str, uuid: str) -> bool:
        if not uuid:
            return name in self.names
        return uuid in self.uuids or name in self.names_without_uuid


class HostDevices:
    """The GPUs of a worker's host, which all its workers share. Reads the database when asked.

    Workers in containers of one machine have hosts of their own: they share the GPUs with the same
    UUIDs.
    """

    def __init__(self, worker: Worker, *, lock: bool = False) -> None:
        """``lock``: the rows of the host's workers, so that none assigns the same devices. Call in
        a transaction then."""
        self._worker = worker
        self._lock = lock

    @cached_property
    def _used(self) -> UsedDevices:
        worker = self._worker
        uuids = [uuid for uuid in worker.device_uuids if uuid]
        neighbors = Worker.objects.filter(Q(host=worker.host) | Q(device_uuids__overlap=uuids))
        if self._lock:
            neighbors = neighbors.select_for_update(no_key=True)
        by_pk = {neighbor.pk: neighbor for neighbor in neighbors.order_by("pk")}
        used = UsedDevices(set(), set(), set())
        held = Run.objects.running().filter(worker__in=by_pk).exclude(devices=[])
        for pk, names in held.values_list("worker", "devices"):
            neighbor = by_pk[pk]
            for name in names:
                uuid = neighbor.uuid_of(name)
                if neighbor.host == worker.host:
                    used.add(name, uuid)
                elif uuid:
                    used.uuids.add(uuid)
        return used

    @property
    def free(self) -> int | None:
        """How many are free; None: it is not known which there are."""
        known = self._worker.devices
        return None if known is None else len(list(self._free(known)))

    def take(self, count: int) -> list[str]:
        """Assign ``count`` free devices; numbers from 0 if it is not known which there are."""
        known = self._worker.devices
        names = map(str, numbers()) if known is None else iter(known)
        taken = list(islice(self._free(names), count))
        for name in taken:
            self._used.add(name, self._worker.uuid_of(name))
        return taken

    def _free(self, names: Iterable[str]) -> Iterator[str]:
        """Those that are free, each device once."""
        seen: set[str] = set()
        for name in names:
            uuid = self._worker.uuid_of(name)
            if uuid not in seen and not self._used.has(name, uuid):
                seen |= {uuid} - {""}
                yield name


Hosts: TypeAlias = list[tuple[Worker, HostDevices]]


def claim(worker: Worker, slots: int) -> list[Run]:
    """Claim up to ``slots`` runs for ``worker``, in one short transaction.

    Concurrent workers never claim the same run: locked rows are skipped. The pools' rows, and
    those of the workers that share GPUs, are locked, so that no two of them allocate the same one.
    A worker that drains claims nothing.
    """
    claimed: list[Run] = []
    with transaction.atomic():
        list(GpuPool.objects.select_for_update().values_list("pk"))
        free = {pool.gpu_type: pool.free for pool in pool_uses()}
        devices = HostDevices(worker, lock=True)
        recipes = _recipes_for(worker)
        with_devices = {pk for pk, executor in recipes.items() if uses_devices(executor)}
        while len(claimed) < slots:
            run = _next(list(recipes), free, with_devices, devices.free)
            if run is None:
                break
            count = run.gpu_count if run.recipe_id in with_devices else 0
            run.claim(worker, devices.take(count))
            if run.gpu_type in free:
                free[run.gpu_type] -= run.gpu_count
            claimed.append(run)
    return claimed


def uses_devices(executor: str) -> bool:
    """Whether the runs of this executor occupy GPUs of their worker's host."""
    return not executors_by_name()[executor].in_database


def _recipes_for(worker: Worker) -> dict[str, str]:
    """The executor of each recipe that the worker can execute; none while it drains. A separate
    query: with a join, the planner sorts the queue instead of using its index."""
    drains = Exists(Worker.objects.draining().filter(pk=worker.pk))
    recipes = Recipe.objects.filter(~drains, executor__in=worker.executors)
    return dict(recipes.values_list("pk", "executor"))


def _next(
    recipes: list[str], free: dict[str, int], with_devices: set[str], devices: int | None
) -> Run | None:
    """``devices``: how many the host has for the recipes ``with_devices``."""
    interrupted = claimable(Run.objects.running(), recipes, free).order_by("started_at", "id")
    queued = claimable(Run.objects.queued(), recipes, free).in_queue_order()
    if devices is not None:
        too_many = Q(recipe__in=with_devices, gpu_count__gt=devices)
        interrupted, queued = interrupted.exclude(too_many), queued.exclude(too_many)
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


def queue(limit: int, pools: list[PoolUse]) -> list[Waiting]:
    """The first ``limit`` unclaimed runs, in the order in which they will be claimed."""
    waiting = Run.objects.unclaimed().select_related("recipe", "project").brief()
    interrupted = list(waiting.running().order_by("started_at", "id")[:limit])
    queued = list(waiting.queued().in_queue_order()[: limit - len(interrupted)])
    hosts = _alive_hosts()
    return [
        Waiting(run, _reason(run, hosts, pools, ahead=ahead))
        for ahead, run in enumerate(interrupted + queued)
    ]


def why_waiting(run: Run) -> str:
    """The reason why an unclaimed run waits, as a sentence."""
    interrupted = Run.objects.unclaimed().running()
    if run.status == RunStatus.QUEUED:
        before = (
            Run.objects.unclaimed()
            .queued()
            .filter(
                Q(priority__gt=run.priority) | Q(priority=run.priority, queued_at__lt=run.queued_at)
            )
        )
        ahead = interrupted.count() + before.count()
    else:
        ahead = interrupted.filter(started_at__lt=run.started_at).count()
    return _reason(run, _alive_hosts(), pool_uses(), ahead=ahead)


def _alive_hosts() -> Hosts:
    """The workers that are alive, each with what is read of its host once for all waiting runs."""
    return [(worker, HostDevices(worker)) for worker in Worker.objects.alive()]


def _reason(run: Run, hosts: Hosts, pools: list[PoolUse], *, ahead: int) -> str:
    executor = "" if run.recipe is None else run.recipe.executor
    hosts = [(worker, host) for worker, host in hosts if executor in worker.executors]
    if not hosts:
        return _("No running worker can execute it.")
    hosts = [(worker, host) for worker, host in hosts if not worker.draining]
    if not hosts:
        return _("Every worker that can execute it is draining: it takes no new runs.")
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
    known = [worker.devices for worker, _host in hosts if worker.devices is not None]
    if uses_devices(executor) and run.gpu_count and len(known) == len(hosts):
        if all(run.gpu_count > len(devices) for devices in known):
            return _("It requests %(requested)d GPUs; no worker's host has that many.") % {
                "requested": run.gpu_count
            }
        if all(run.gpu_count > (host.free or 0) for _worker, host in hosts):
            return _("Waiting until a worker's host has %(requested)d free GPUs.") % {
                "requested": run.gpu_count
            }
    if ahead == 0:
        return _("Next in the queue: a worker will claim it as soon as it has a free slot.")
    return _("Waiting for a free slot; runs ahead of it: %(ahead)d.") % {"ahead": ahead}
