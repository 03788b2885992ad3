"""list_checkpoints and show_lineage."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.utils.translation import gettext as _
from msgspec import Meta

from agents.answers import Answer, text, time
from agents.lookups import ProjectId, checkpoint_of, project_of, run_of
from agents.pages import Limit, Offset
from agents.tool import Arguments, Caller, tool
from artifacts.checkpoint_sizes import sizes_of
from artifacts.family import family_of
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.exceptions import InvalidInput
from core.ids import ID_PATTERN
from dashboard.run_table.search import denoted_tag

TAGS: Final = "candidate, released, archived"


class ListCheckpoints(Arguments, frozen=True):
    run: Annotated[
        str,
        Meta(
            pattern=rf"^(?:{ID_PATTERN})?$",
            description="Id of a run. Without it, those of all runs of the project.",
        ),
    ] = ""
    project: ProjectId = ""
    tag: Annotated[str, Meta(max_length=20, description=f"Only with this tag: {TAGS}.")] = ""
    limit: Limit = 10
    offset: Offset = 0


@tool("List checkpoints")
def list_checkpoints(caller: Caller, given: ListCheckpoints) -> Answer:
    """Checkpoints of a run, the latest step first, or of a project, the newest first: id, step,
    size, tags, and what is wrong with damaged ones. resume_run and tag_checkpoint take their ids.
    """
    checkpoints = Artifact.objects.visible_to(caller.user).checkpoints()
    checkpoints = checkpoints.filter(run__is_hidden=False, run__deleted_at=None)
    if given.run:
        run = run_of(caller, given.run)
        checkpoints = checkpoints.filter(run=run).order_by("-step", "-created_at", "pk")
    else:
        project = project_of(caller, given.project)
        checkpoints = checkpoints.filter(run__project=project).order_by("-created_at", "pk")
    if given.tag:
        checkpoints = checkpoints.filter(tags__value=tag_value(given.tag))
    page = list(checkpoints.prefetch_related("tags")[given.offset : given.offset + given.limit])
    sizes = sizes_of(page)
    rows = [_row(checkpoint, sizes[checkpoint.pk]) for checkpoint in page]
    return Answer(
        {"checkpoints": rows}, rows="checkpoints", offset=given.offset, total=checkpoints.count()
    )


def tag_value(name: str) -> TagValue:
    """Raises InvalidInput."""
    value = denoted_tag(name)
    if value is None:
        message = _("%(name)s is no tag of checkpoints. Known: %(known)s.")
        raise InvalidInput(message % {"name": name[:80], "known": TAGS}, attr="tag")
    return TagValue(value)


def _row(checkpoint: Artifact, size_bytes: int) -> dict[str, Any]:
    """``size_bytes``: of all its files."""
    row: dict[str, Any] = {
        "id": checkpoint.pk,
        "run": checkpoint.run_id,
        "name": text(checkpoint.name, 100),
        "step": checkpoint.step,
        "size_bytes": size_bytes,
        "created": time(checkpoint.created_at),
        "tags": [tag.value for tag in checkpoint.tags.all()],
    }
    if checkpoint.damage:
        row["damaged"] = text(checkpoint.damage)
    return row


class ShowLineage(Arguments, frozen=True):
    run: Annotated[
        str, Meta(pattern=rf"^(?:{ID_PATTERN})?$", description="Id of a run, or: checkpoint.")
    ] = ""
    checkpoint: Annotated[
        str, Meta(pattern=rf"^(?:{ID_PATTERN})?$", description="Id of a checkpoint.")
    ] = ""


@tool("Show lineage")
def show_lineage(caller: Caller, given: ShowLineage) -> Answer:
    """The family of a run, or of a checkpoint's run: which run each was resumed from, evaluates,
    tries again or is nested in, from the oldest on, and at which step."""
    if bool(given.run) == bool(given.checkpoint):
        raise InvalidInput(_("Either run or checkpoint is needed."), attr="run")
    if given.checkpoint:
        run = checkpoint_of(caller, given.checkpoint).run
    else:
        run = run_of(caller, given.run)
    family = family_of(run)
    rows = []
    for generation, member in family.members():
        row: dict[str, Any] = {
            "run": member.run.pk,
            "name": text(member.run.name, 100),
            "status": member.run.status,
            "generation": generation,
            "start_step": member.run.start_step,
            "step": member.run.step,
        }
        if member.link is not None:
            row |= {"is": member.link.kind, "of": member.link.parent}
        if member.run.resumed_from_id:
            row["from_checkpoint"] = member.run.resumed_from_id
        rows.append(row)
    notes = [_("The family is larger than this.")] if family.is_cut else []
    return Answer({"of": run.pk, "family": rows}, rows="family", total=len(rows), notes=notes)
