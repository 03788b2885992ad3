"""Which checkpoints are released, and that they are not deleted until they are archived."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactQuerySet, ArtifactTag
from artifacts.queries import lock_promotions
from core.exceptions import DomainError
from core.messages import Message
from projects.access import require_of
from runs.models import Run, RunQuerySet
from runs.reports import InTrash


class ReleasedCheckpoint(DomainError):
    """What is released, with its run and project, cannot be deleted."""

    code = "checkpoint_released"


def released() -> ArtifactQuerySet:
    """The checkpoints that were tagged 发布, and not 归档 since: 候选 takes no release back."""
    tags = ArtifactTag.objects.filter(artifact=OuterRef("pk"), value=TagValue.RELEASED)
    archived = ArtifactTag.objects.filter(artifact=OuterRef("artifact"), value=TagValue.ARCHIVED)
    newer = archived.filter(
        Q(applied_at__gt=OuterRef("applied_at"))
        | Q(applied_at=OuterRef("applied_at"), pk__gt=OuterRef("pk"))
    )
    return Artifact.objects.checkpoints().filter(Exists(tags.exclude(Exists(newer))))


def refuse_deletion(*, runs: RunQuerySet, **_signal: Any) -> None:
    """Receiver of runs_deleting. Raises ReleasedCheckpoint."""
    lock_promotions()  # nothing is released between this and the deletion
    found = released().filter(run__in=runs).select_related("run").order_by("id").first()
    if found is not None:
        raise ReleasedCheckpoint(
            Message(
                "The checkpoint %(name)s (%(id)s) of %(run)s is released: it, its run and its "
                "project cannot be deleted until it is tagged as archived (归档).",
                name=found.name,
                id=found.pk,
                run=found.run.name,
            )
        )


def refuse_in_trash(*, artifact: Artifact, value: TagValue, **_signal: Any) -> None:
    """Receiver of checkpoint_tagging: what is in the trash is not released. Raises InTrash."""
    in_trash = Run.objects.filter(pk=artifact.run_id, deleted_at__isnull=False)
    if value == TagValue.RELEASED and in_trash.exists():
        raise InTrash(
            Message(
                "The run of the checkpoint %(id)s has been deleted: restore it before the "
                "checkpoint is released.",
                id=artifact.pk,
            )
        )


def refuse_demotion(
    *, artifact: Artifact, value: TagValue, by: User | None, **_signal: Any
) -> None:
    """Receiver of checkpoint_tagging: members propose candidates, but not in place of a release.
    Raises RoleNeeded."""
    if value == TagValue.CANDIDATE and released().filter(pk=artifact.pk).exists():
        require_of(by, artifact.run.project_id, Role.MAINTAINER)
