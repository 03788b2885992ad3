"""Data for the workers page: workers, GPU pools, and the queue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from execution.scheduling import PoolUse, Waiting, pool_uses, queue
from runs.models import Run, Worker

QUEUE_SHOWN = 50
WORKERS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class WorkerRow:
    worker: Worker
    runs: list[Run]  # held by the worker


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The workers and their runs, GPU pool usage, and the queue."""

    workers: list[WorkerRow]  # alive workers first
    pools: list[PoolUse]
    queue: list[Waiting]
    queue_length: int


def cluster_status() -> ClusterStatus:
    workers = list(Worker.objects.order_by("-last_heartbeat")[:WORKERS_SHOWN])
    held = defaultdict(list)
    running = Run.objects.running().filter(worker__in=workers).brief()
    for run in running.order_by("started_at", "id"):
        held[run.worker_id].append(run)
    rows = [WorkerRow(worker, held[worker.pk]) for worker in workers]
    pools = pool_uses()
    return ClusterStatus(
        workers=sorted(rows, key=lambda row: not row.worker.is_alive),
        pools=pools,
        queue=queue(QUEUE_SHOWN, pools),
        queue_length=Run.objects.unclaimed().count(),
    )
