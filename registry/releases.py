"""Releases of a project: the checkpoints that are tagged released, and the history of all tags."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag
from artifacts.queries import lock_promotions
from projects.models import Project
from registry.checkpoints import checkpoints_of


def tag_in_force(checkpoint: Artifact) -> ArtifactTag | None:
    """The tag that was set last: a checkpoint that was released and then archived is archived."""
    return max(checkpoint.tags.all(), key=lambda tag: (tag.applied_at, tag.pk), default=None)


def in_force(project: Project, value: TagValue) -> list[Artifact]:
    """The checkpoints whose tag in force is ``value``, the last tagged first."""
    tagged = checkpoints_of(project).filter(tags__value=value)
    checkpoints = tagged.select_related("run__created_by").prefetch_related("tags__applied_by")
    found = [
        (tag.applied_at, tag.pk, checkpoint)
        for checkpoint in checkpoints
        if (tag := tag_in_force(checkpoint)) is not None and tag.value == value
    ]
    return [checkpoint for *_when, checkpoint in sorted(found, key=_when, reverse=True)]


def _when(item: tuple[Any, int, Artifact]) -> tuple[Any, int]:
    return item[:2]


def history(project: Project) -> QuerySet[ArtifactTag]:
    """Every tag of the project's checkpoints, the newest first: also of those that were removed
    after they had been archived."""
    tags = ArtifactTag.objects.filter(
        artifact__run__project=project,
        artifact__run__is_hidden=False,
        artifact__run__deleted_at=None,
    )
    return tags.select_related("artifact__run", "applied_by").order_by("-applied_at", "-id")


def release(
    checkpoint: Artifact,
    *,
    notes: str,
    replaces_others: bool,
    by: User | None,
    approval: object = None,
) -> None:
    """Tag ``checkpoint`` as released. ``replaces_others``: tag the project's other releases as
    archived, with the same notes. ``approval``: see approval.py. All or nothing. Raises what
    Artifact.tag does."""
    with transaction.atomic():
        lock_promotions()
        # Read with the lock held: somebody may have released another one meanwhile.
        present = in_force(checkpoint.run.project, TagValue.RELEASED) if replaces_others else []
        for other in present:
            if other.pk != checkpoint.pk:
                other.tag(TagValue.ARCHIVED, notes=notes, by=by)
        checkpoint.tag(TagValue.RELEASED, notes=notes, by=by, approval=approval)
