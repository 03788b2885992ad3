"""Projects, runs and checkpoints by their ids. What the caller may not see is told as missing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from django.utils.translation import gettext as _
from msgspec import Meta

from agents.tool import Caller
from artifacts.models import Artifact
from core.exceptions import DomainError
from core.ids import ID_PATTERN
from projects.models import Project
from runs.models import Run

MOST_NAMED: Final = 10  # projects in a message

_ID: Final = rf"^(?:{ID_PATTERN})$"
RunId = Annotated[str, Meta(pattern=_ID, description="Id of a run: run_…, from find_runs.")]
ProjectId = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{ID_PATTERN})?$",
        description="Id of a project: proj_…, from list_projects. Not needed where only one "
        "project is visible.",
    ),
]
CheckpointId = Annotated[
    str, Meta(pattern=_ID, description="Id of a checkpoint: ckpt_…, from list_checkpoints.")
]


class Unknown(DomainError):
    code: ClassVar[str] = "not_found"
    status_code: ClassVar[int] = 404


def run_of(caller: Caller, run_id: str) -> Run:
    """Raises Unknown."""
    runs = Run.objects.visible_to(caller.user).select_related("project")
    run = runs.filter(pk=run_id).first()
    if run is None:
        raise Unknown(_("There is no run %(id)s that you may see.") % {"id": run_id})
    return run


def project_of(caller: Caller, project_id: str) -> Project:
    """That project; without an id the only one there is. Raises Unknown."""
    visible = Project.objects.visible_to(caller.user)
    if project_id:
        project = visible.filter(pk=project_id).first()
        if project is None:
            raise Unknown(_("There is no project %(id)s that you may see.") % {"id": project_id})
        return project
    first = list(visible.order_by("-created_at", "pk")[: MOST_NAMED + 1])
    if len(first) == 1:
        return first[0]
    if not first:
        raise Unknown(_("There is no project that you may see."))
    named = ", ".join(f"{project.pk} ({project.name[:50]})" for project in first[:MOST_NAMED])
    raise Unknown(_("Name the project, such as: %(projects)s.") % {"projects": named})


def checkpoint_of(caller: Caller, checkpoint_id: str) -> Artifact:
    """Raises Unknown, also for an artifact that is no checkpoint."""
    visible = Artifact.objects.visible_to(caller.user).checkpoints()
    checkpoint = visible.select_related("run__project").filter(pk=checkpoint_id).first()
    if checkpoint is None:
        message = _("There is no checkpoint %(id)s that you may see.")
        raise Unknown(message % {"id": checkpoint_id})
    return checkpoint


def path_of(run: Run) -> str:
    """Where the API has it."""
    return f"/projects/{run.project_id}/runs/{run.pk}"
