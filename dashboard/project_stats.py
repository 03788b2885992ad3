"""Run statistics for the project list, loaded for a whole page at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, OuterRef, Subquery

from projects.models import Project
from runs.models import Run, RunQuerySet


@dataclass(frozen=True, slots=True)
class ProjectRow:
    project: Project
    running: int
    queued: int
    latest_run: Run | None


def project_rows(projects: Sequence[Project]) -> list[ProjectRow]:
    """Return each project with its active run counts and its latest run, in three queries."""
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
    # One lookup in the index (project, -created_at, id) per project, however many runs it has.
    newest = (
        Run.objects.kept()
        .filter(project=OuterRef("pk"))
        .order_by("-created_at", "id")
        .values("pk")[:1]
    )
    latest = Project.objects.filter(pk__in=project_ids).values(latest=Subquery(newest))
    return {run.project_id: run for run in Run.objects.filter(pk__in=latest).brief()}
