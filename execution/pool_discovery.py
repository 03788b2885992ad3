"""Pools of the GPUs that workers find: their hosts', by the driver, and those of clusters.

A pool that people have set stays as it is, and stands for all that is found of its type.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from django.db import IntegrityError, transaction

from core.exceptions import DomainError
from runs.executors import Executor, FoundPool
from runs.models import ExecutorName, GpuPool, Worker
from runs.models.pool import MAX_NAME

logger = logging.getLogger(__name__)


def discover_pools(executors: Mapping[str, Executor]) -> None:
    """Create the pools that are found, and keep their capacities up to date."""
    for name, executor in executors.items():
        try:
            found = on_hosts() if name == ExecutorName.PROCESS else executor.pools()
        except DomainError as problem:
            logger.info("the pools of %s are not known now: %s", name, problem)
            continue
        kept = {_keep(name, pool) for pool in found}
        if name != ExecutorName.PROCESS:
            _empty_others(name, kept)


def on_hosts() -> list[FoundPool]:
    """The devices of the hosts of living workers, each once, by model."""
    devices: dict[str, set[str]] = defaultdict(set)
    alive = Worker.objects.alive().filter(executors__contains=[ExecutorName.PROCESS])
    columns = ("host", "devices", "device_uuids", "device_models")
    for host, names, uuids, models in alive.values_list(*columns):
        for name, uuid, model in zip(names or (), uuids, models, strict=False):
            if model:
                devices[model].add(uuid or f"{host} {name}")
    return [FoundPool(model, len(found)) for model, found in sorted(devices.items())]


def _empty_others(executor: str, kept: set[str]) -> None:
    """The cluster has no nodes any more with what it was found to have before."""
    others = GpuPool.objects.filter(executor=executor, is_discovered=True, capacity__gt=0)
    for pool in others.exclude(pk__in=kept):
        pool.rediscover(0)


def _keep(executor: str, found: FoundPool) -> str:
    """Returns the pool's name; "" if there is none of its own."""
    gpu_type = re.sub(r"[^\w.\- ]", "-", found.gpu_type)[:MAX_NAME]
    of_type = GpuPool.objects.filter(gpu_type=gpu_type)
    pool = of_type.filter(executor=executor, cluster=found.cluster).first()
    if pool is None:
        is_set = executor == ExecutorName.PROCESS and of_type.filter(executor="").exists()
        return "" if is_set else _create(executor, gpu_type, found)
    if pool.is_discovered and pool.capacity != found.capacity:
        pool.rediscover(found.capacity)
    return pool.name


def _create(executor: str, gpu_type: str, found: FoundPool) -> str:
    pool = GpuPool(
        name=_free_name(gpu_type, executor, found.cluster),
        gpu_type=gpu_type,
        capacity=found.capacity,
        executor=executor,
        cluster=found.cluster,
        is_discovered=True,
    )
    try:
        with transaction.atomic():
            pool.save(force_insert=True)
    except IntegrityError:  # another worker has found it too
        return pool.name
    logger.info("found the GPU pool %s of %s", pool, executor)
    return pool.name


def _free_name(*words: str) -> str:
    """The first of the words; with as many of the others as make it a name that is free."""
    names: Iterable[str] = (" ".join(words[:count]).strip() for count in range(1, len(words) + 1))
    names = [name[:MAX_NAME] for name in names]
    taken = set(GpuPool.objects.filter(name__in=names).values_list("name", flat=True))
    return next((name for name in names if name not in taken), names[-1])
