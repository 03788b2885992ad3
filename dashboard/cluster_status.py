"""Data for the workers page: workers, GPU pools and who holds their GPUs, and the queue."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from django.db.models import Max

from dashboard.live import moment
from execution.scheduling.explanation import Explanation, explain_queue
from execution.scheduling.pools import PoolUse, pool_uses
from runs.models import GpuPool, Run, RunEvent, Worker

QUEUE_SHOWN: Final = 50
WORKERS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class WorkerRow:
    worker: Worker
    runs: list[Run]  # held by the worker


@dataclass(frozen=True, slots=True)
class PoolRow:
    """The GPUs of a pool, or of a type that no pool counts: then ``use`` is None."""

    name: str
    use: PoolUse | None
    holders: list[Run] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Its place on the page of the queue; an id has no spaces."""
        return f"pool-{quote(self.name, safe='')}"

    @property
    def used(self) -> int:
        return sum(run.gpu_count for run in self.holders)

    @property
    def width(self) -> int:
        """Of the bar, in GPUs: more are used than there are after the pool has shrunk."""
        return max(self.used, self.use.capacity if self.use is not None else 0, 1)

    @property
    def segments(self) -> list[tuple[int, Run]]:
        """Of the bar: where each holder's begins, in GPUs."""
        begins, placed = 0, []
        for run in self.holders:
            placed.append((begins, run))
            begins += run.gpu_count
        return placed

    @property
    def people(self) -> list[tuple[str, int]]:
        """Who holds how many, by whom their runs were created."""
        counts: Counter[str] = Counter()
        for run in self.holders:
            counts[run.created_by.get_username() if run.created_by else ""] += run.gpu_count
        return counts.most_common()


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The workers and their runs, GPU pool usage, and the queue."""

    workers: list[WorkerRow]  # alive workers first
    pools: list[PoolRow]
    queue: list[Explanation]  # pool by pool
    queue_length: int


def cluster_status() -> ClusterStatus:
    workers = list(Worker.objects.order_by("-last_heartbeat")[:WORKERS_SHOWN])
    held = defaultdict(list)
    running = Run.objects.active().filter(worker__in=workers).brief()
    for run in running.order_by("started_at", "id"):
        held[run.worker_id].append(run)
    # By name: rows keep their place while heartbeats come and go.
    rows = [
        WorkerRow(worker, held[worker.pk]) for worker in sorted(workers, key=lambda row: row.name)
    ]
    return ClusterStatus(
        workers=sorted(rows, key=lambda row: not row.worker.is_alive),
        pools=pool_rows(),
        queue=sorted(explain_queue(QUEUE_SHOWN), key=_place),
        queue_length=Run.objects.unclaimed().count(),
    )


def _place(waiting: Explanation) -> tuple[str, int]:
    """Pool by pool; first what its cluster has already."""
    return waiting.run.pool, waiting.position or 0


def pool_rows() -> list[PoolRow]:
    """Every pool, and every type that runs of workers hold outside of them, with these runs."""
    rows = {(use.name, ""): PoolRow(use.name, use) for use in pool_uses()}
    holding = Run.objects.running().filter(worker__isnull=False, gpu_count__gt=0).brief()
    for run in holding.select_related("project", "created_by").order_by("started_at", "id"):
        key = (run.pool, "" if run.pool else run.gpu_type)
        rows.setdefault(key, PoolRow(run.pool or run.gpu_type, None)).holders.append(run)
    return list(rows.values())


def version() -> str:
    """Changes with what the page shows; the heartbeats are shown by the minute."""
    running = Run.objects.running().exclude(worker=None).aggregate(at=Max("updated_at"))
    parts = (
        RunEvent.objects.aggregate(last=Max("id"))["last"],
        running["at"],
        list(
            Worker.objects.order_by("pk").values_list("pk", "draining", "stopped_at", "incarnation")
        ),
        Worker.objects.alive().count(),
        list(GpuPool.objects.values_list("name", "capacity", "reserve")),
        moment(60),
    )
    return repr(parts)
