"""queue_run, cancel_run, resume_run, tag_run and tag_checkpoint: requests to the REST API."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.utils.translation import gettext as _
from msgspec import UNSET, Meta, UnsetType

from agents.answers import Answer, text, values
from agents.lookups import (
    CheckpointId,
    ProjectId,
    RunId,
    Unknown,
    checkpoint_of,
    path_of,
    project_of,
    run_of,
)
from agents.tool import Arguments, Caller, tool
from agents.tools.checkpoints import TAGS, tag_value
from artifacts.models import Artifact
from core.ids import ID_PATTERN

MAX_NOTES: Final = 2000

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Overrides = Annotated[
    dict[str, Any], Meta(max_length=200, description="Hyperparameters by name: they override.")
]
Priority = Annotated[int, Meta(ge=-100, le=100, description="Higher runs first. Default: 0.")]


class Configuration(Arguments, frozen=True, kw_only=True):
    """What is not given is as the project, the recipe, or the resumed run has it."""

    name: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    dataset: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET
    hyperparameters: Overrides | UnsetType = UNSET
    recipe: Annotated[Name, Meta(description="From list_recipes.")] | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    gpus: Annotated[int, Meta(ge=0, le=10_000)] | UnsetType = UNSET
    gpu_type: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    nodes: Annotated[int, Meta(ge=1, le=10_000)] | UnsetType = UNSET

    def body(self) -> dict[str, Any]:
        """Of a request for a run."""
        names = ("name", "model", "dataset", "hyperparameters", "recipe", "priority")
        body = {name: getattr(self, name) for name in names}
        resources = {"gpu_count": self.gpus, "gpu_type": self.gpu_type, "nodes": self.nodes}
        given = {name: value for name, value in resources.items() if value is not UNSET}
        if given:
            body["resources"] = given
        return {name: value for name, value in body.items() if value is not UNSET}


class QueueRun(Configuration, frozen=True, kw_only=True):
    project: ProjectId = ""


@tool("Queue a run", writes=True)
def queue_run(caller: Caller, given: QueueRun) -> Answer:
    """Create a run of a project and put it into the queue. A recipe says what is executed; its GPUs
    and the hyperparameters can be overridden. Each call makes a run: do not repeat one that has
    succeeded."""
    project = project_of(caller, given.project)
    made = caller.rest.post(f"/projects/{project.pk}/runs", given.body())
    return Answer(_made(made))


def _made(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run["id"],
        "name": text(run["name"]),
        "project": run["project_id"],
        "status": run["status"],
        "recipe": run["recipe"],
        "resources": run["resources"],
        "hyperparameters": values(run["hyperparameters"]),
        "resumed_from": run["resumed_from"],
    }


class CancelRun(Arguments, frozen=True):
    run: RunId


@tool("Cancel a run", writes=True, is_destructive=True, is_idempotent=True)
def cancel_run(caller: Caller, given: CancelRun) -> Answer:
    """Stop a run. What it has trained is kept as a checkpoint, from which resume_run goes on.
    Answers when it has stopped, after at most some 20 seconds; it may still be stopping then."""
    run = run_of(caller, given.run)
    left = caller.rest.post(f"{path_of(run)}/cancel", {})
    kept = [artifact["id"] for artifact in left["artifacts"]]
    content = {
        "run": left["id"],
        "status": left["status"],
        "step": left["step"],
        "is_stopping": left["cancelled_at"] is None,
        "kept_checkpoint": next(iter(kept), None),
    }
    return Answer(content)


class ResumeRun(Configuration, frozen=True, kw_only=True):
    run: RunId
    checkpoint: Annotated[
        str,
        Meta(
            pattern=rf"^(?:{ID_PATTERN})?$",
            description="Id of the checkpoint to go on from. Default: the run's latest whole one.",
        ),
    ] = ""


@tool("Resume a run", writes=True)
def resume_run(caller: Caller, given: ResumeRun) -> Answer:
    """Create a run that goes on from a checkpoint of this one, with its configuration; what is
    given overrides it. Each call makes a run."""
    run = run_of(caller, given.run)
    if given.checkpoint:
        checkpoint: Artifact | None = checkpoint_of(caller, given.checkpoint)
    else:
        checkpoint = Artifact.objects.checkpoints_of(run).first()
    if checkpoint is None:
        raise Unknown(_("The run %(id)s has no whole checkpoint.") % {"id": run.pk})
    made = caller.rest.post(
        f"{path_of(run)}/resume", given.body(), source_artifact_id=checkpoint.pk
    )
    return Answer({**_made(made), "start_step": made["start_step"]})


TagText = Annotated[str, Meta(max_length=5000)]


class TagRun(Arguments, frozen=True):
    run: RunId
    tags: Annotated[
        dict[str, TagText | None],
        Meta(min_length=1, max_length=50, description="Text by name; null deletes the tag."),
    ]


@tool("Tag a run", writes=True, is_destructive=True, is_idempotent=True)
def tag_run(caller: Caller, given: TagRun) -> Answer:
    """Set or delete tags of a run. Tags that are not named stay."""
    run = run_of(caller, given.run)
    changed = caller.rest.patch(path_of(run), {"tags": given.tags})
    return Answer({"run": changed["id"], "tags": values(changed["tags"], 50)})


class TagCheckpoint(Arguments, frozen=True):
    checkpoint: CheckpointId
    tag: Annotated[str, Meta(max_length=20, description=f"One of {TAGS}.")]
    notes: Annotated[str, Meta(max_length=MAX_NOTES, description="Why.")] = ""


@tool("Tag a checkpoint", writes=True, is_destructive=True, is_idempotent=True)
def tag_checkpoint(caller: Caller, given: TagCheckpoint) -> Answer:
    """Make a checkpoint a candidate, release it, or archive it. Where the project demands that
    releases be approved, this asks for the approval of somebody else."""
    checkpoint = checkpoint_of(caller, given.checkpoint)
    body = {"tag": tag_value(given.tag).value, "notes": given.notes}
    path = f"{path_of(checkpoint.run)}/artifacts/{checkpoint.pk}/tag"
    answer = caller.rest.post(path, body)
    if "checkpoint_id" in answer:
        asked = {"request": answer["id"], "state": answer["state"], "asked_at": answer["asked_at"]}
        return Answer({"checkpoint": checkpoint.pk, "approval_asked": asked})
    tags = [{"tag": tag["value"], "notes": text(tag["notes"])} for tag in answer["tags"]]
    return Answer({"checkpoint": checkpoint.pk, "tags": tags})
