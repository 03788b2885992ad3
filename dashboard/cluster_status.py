"""Data for the workers page: workers, GPU pools and who holds their GPUs, and the queue.

The runs of projects that the reader does not see are only counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from django.db.models import Count, Max, Sum

from dashboard.live import moment
from execution.scheduling.explanation import Explanation, explain_queue
from execution.scheduling.pools import PoolUse, pool_uses
from projects.sight import Sight
from runs.models import GpuPool, Run, RunEvent, Worker

QUEUE_SHOWN: Final = 50
WORKERS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """``runs``: that the worker holds; ``others``: how many more, that the reader does not see."""

    worker: Worker
    runs: list[Run]
    others: int

    @property
    def held(self) -> int:
        return len(self.runs) + self.others


@dataclass(slots=True)
class Others:
    """Runs of projects that the reader does not see."""

    runs: int = 0
    gpus: int = 0

    def add(self, run: Run) -> None:
        self.runs += 1
        self.gpus += run.gpu_count


@dataclass(frozen=True, slots=True)
class PoolRow:
    """The GPUs of a pool, or of a type that no pool counts: then ``use`` is None."""

    name: str
    use: PoolUse | None
    holders: list[Run] = field(default_factory=list)
    others: Others = field(default_factory=Others)

    @property
    def anchor(self) -> str:
        """Its place on the page of the queue; an id has no spaces."""
        return f"pool-{quote(self.name, safe='')}"

    @property
    def used(self) -> int:
        return sum(run.gpu_count for run in self.holders) + self.others.gpus

    @property
    def width(self) -> int:
        """Of the bar, in GPUs: more are used than there are after the pool has shrunk."""
        return max(self.used, self.use.capacity if self.use is not None else 0, 1)

    @property
    def segments(self) -> list[tuple[int, Run]]:
        """Of the bar: where each holder's begins, in GPUs. Those of the others come last."""
        begins, placed = 0, []
        for run in self.holders:
            placed.append((begins, run))
            begins += run.gpu_count
        return placed

    @property
    def people(self) -> list[tuple[str, int]]:
        """Who holds how many, by whom their runs were created; without the others."""
        counts: Counter[str] = Counter()
        for run in self.holders:
            counts[run.created_by.get_username() if run.created_by else ""] += run.gpu_count
        return counts.most_common()


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The workers and their runs, GPU pool usage, and the queue. ``waiting``: the runs of the queue
    that the reader sees; ``waiting_others``: those that they do not."""

    workers: list[WorkerRow]  # alive workers first
    pools: list[PoolRow]
    queue: list[Explanation]  # pool by pool
    waiting: int
    waiting_others: Others

    @property
    def queue_length(self) -> int:
        return self.waiting + self.waiting_others.runs


def cluster_status(sight: Sight) -> ClusterStatus:
    waiting, others = waiting_runs(sight)
    return ClusterStatus(
        workers=_worker_rows(sight),
        pools=pool_rows(sight),
        queue=sorted(explain_queue(QUEUE_SHOWN, sight), key=_place),
        waiting=waiting,
        waiting_others=others,
    )


def _worker_rows(sight: Sight) -> list[WorkerRow]:
    workers = list(Worker.objects.order_by("-last_heartbeat")[:WORKERS_SHOWN])
    held, others = defaultdict(list), Counter[str | None]()
    running = Run.objects.active().filter(worker__in=workers).brief()
    for run in running.order_by("started_at", "id"):
        if run.project_id in sight:
            held[run.worker_id].append(run)
        else:
            others[run.worker_id] += 1
    # By name: rows keep their place while heartbeats come and go.
    rows = [
        WorkerRow(worker, held[worker.pk], others[worker.pk])
        for worker in sorted(workers, key=lambda row: row.name)
    ]
    return sorted(rows, key=lambda row: not row.worker.is_alive)


def waiting_runs(sight: Sight) -> tuple[int, Others]:
    """How many runs of the queue the reader sees, and the others."""
    queue = Run.objects.unclaimed().order_by()
    if not sight.is_limited:
        return queue.count(), Others()
    in_all = queue.aggregate(runs=Count("pk"), gpus=Sum("gpu_count"))
    seen = sight.narrow(queue, "project").aggregate(runs=Count("pk"), gpus=Sum("gpu_count"))
    return seen["runs"], Others(
        in_all["runs"] - seen["runs"], (in_all["gpus"] or 0) - (seen["gpus"] or 0)
    )


def _place(waiting: Explanation) -> tuple[str, int]:
    """Pool by pool; first what its cluster has already."""
    return waiting.run.pool, waiting.position or 0


def pool_rows(sight: Sight) -> list[PoolRow]:
    """Every pool, and every type that runs of workers hold outside of them, with these runs."""
    rows = {(use.name, ""): PoolRow(use.name, use) for use in pool_uses()}
    holding = Run.objects.running().filter(worker__isnull=False, gpu_count__gt=0).brief()
    for run in holding.select_related("project", "created_by").order_by("started_at", "id"):
        key = (run.pool, "" if run.pool else run.gpu_type)
        row = rows.setdefault(key, PoolRow(run.pool or run.gpu_type, None))
        if run.project_id in sight:
            row.holders.append(run)
        else:
            row.others.add(run)
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
