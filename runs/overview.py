"""What lists show beside their rows, read for a whole page at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, OuterRef, Subquery

from projects.models import Project
from runs.models import Run, RunQuerySet, Worker
from runs.scheduling import PoolUse, Waiting, pool_uses, queue

QUEUE_SHOWN = 50
WORKERS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ProjectRow:
    project: Project
    running: int
    queued: int
    latest_run: Run | None


def project_rows(projects: Sequence[Project]) -> list[ProjectRow]:
    """Each project with its active runs counted and its latest run, in three queries."""
    ids = [project.pk for project in projects]
    running = _count_by_project(Run.objects.running(), ids)
    queued = _count_by_project(Run.objects.queued(), ids)
    latest = _latest_runs(ids)
    return [
        ProjectRow(
            project,
            running.get(project.pk, 0),
            queued.get(project.pk, 0),
            latest.get(project.pk),
        )
        for project in projects
    ]


def _count_by_project(runs: RunQuerySet, project_ids: list[str]) -> dict[str, int]:
    counted = runs.filter(project__in=project_ids).values_list("project_id")
    return dict(counted.annotate(count=Count("pk")).order_by())


def _latest_runs(project_ids: list[str]) -> dict[str, Run]:
    # One look into the index (project, -created_at, id) for each project, however many runs it has.
    newest = (
        Run.objects.kept()
        .filter(project=OuterRef("pk"))
        .order_by("-created_at", "id")
        .values("pk")[:1]
    )
    latest = Project.objects.filter(pk__in=project_ids).values(latest=Subquery(newest))
    return {run.project_id: run for run in Run.objects.filter(pk__in=latest)}


@dataclass(frozen=True, slots=True)
class WorkerRow:
    worker: Worker
    runs: list[Run]  # that it holds


@dataclass(frozen=True, slots=True)
class Operations:
    """The workers, what they hold, the GPUs that this takes, and who waits."""

    workers: list[WorkerRow]  # those alive first
    pools: list[PoolUse]
    queue: list[Waiting]
    queue_length: int


def operations() -> Operations:
    workers = list(Worker.objects.order_by("-last_heartbeat")[:WORKERS_SHOWN])
    held = defaultdict(list)
    for run in Run.objects.running().filter(worker__in=workers).order_by("started_at", "id"):
        held[run.worker_id].append(run)
    rows = [WorkerRow(worker, held[worker.pk]) for worker in workers]
    return Operations(
        workers=sorted(rows, key=lambda row: not row.worker.is_alive),
        pools=pool_uses(),
        queue=queue(QUEUE_SHOWN),
        queue_length=Run.objects.unclaimed().count(),
    )
