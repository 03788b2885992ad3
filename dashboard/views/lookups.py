"""Object lookups, and the response status for polling."""

from __future__ import annotations

from django.shortcuts import get_object_or_404

from artifacts.models import Artifact
from dashboard.pages import STOP_POLLING, PageRequest
from projects.access import visible_project
from projects.models import Project
from runs.models import Run


def get_project(request: PageRequest, project_id: str) -> Project:
    return visible_project(request.user, project_id)


def get_run(request: PageRequest, project_id: str, run_id: str) -> Run:
    visible = Run.objects.visible_in(project_id, request.user).select_related(
        "project", "recipe", "worker", "created_by"
    )
    return get_object_or_404(visible, pk=run_id)


def get_artifact(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> Artifact:
    visible = Artifact.objects.visible_to(request.user).select_related("run__project")
    return get_object_or_404(visible, pk=artifact_id, run=run_id, run__project=project_id)


def get_checkpoint(
    request: PageRequest, project_id: str, run_id: str, artifact_id: str
) -> Artifact:
    visible = Artifact.objects.visible_to(request.user).checkpoints()
    related = visible.select_related("run__project", "run__created_by", "run__recipe")
    return get_object_or_404(related, pk=artifact_id, run=run_id, run__project=project_id)


def poll_status(has_more: bool) -> int:
    """Return the response status for a poll: pages stop polling if there are no more updates."""
    return 200 if has_more else STOP_POLLING
