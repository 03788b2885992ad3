"""The trash of checkpoints: what a policy or a person removes is there for some days, then its
bytes are deleted. Its record stays: see checkpoint_deletions.py."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from accounts.roles import Role
from artifacts.checkpoint_deletions import CheckpointDeletion, DeletionState
from artifacts.digests import digest_of_files
from artifacts.models import Artifact, ArtifactQuerySet, InUse, NotACheckpoint, PathTaken
from artifacts.protection import protections_of
from artifacts.queries import lock_promotions
from artifacts.unreferenced_blobs import UnreferencedBlob
from artifacts.uploaded_files import check_path, lock_run, uploaded_files
from core.exceptions import DomainError
from core.messages import Message, Text
from projects.access import require_of
from projects.models import Project
from runs.checkpoint import CheckpointGone
from runs.models import Run
from runs.reports import in_trash

logger = logging.getLogger(__name__)

PURGED_AT_ONCE: Final = 20  # checkpoints, in one pass of a worker
BLOBS_AT_ONCE: Final = 100


class NotInTrash(DomainError):
    code = "not_in_trash"


def remove(checkpoint: Artifact, *, by: User | None, notes: str = "") -> CheckpointDeletion:
    """Move ``checkpoint`` to the trash, as a person does. Members only. Raises RoleNeeded,
    NotACheckpoint, CheckpointGone, InUse."""
    require_of(by, checkpoint.run.project_id, Role.MEMBER)
    return trash(checkpoint, reason=notes, by=by)


def trash(
    checkpoint: Artifact, *, reason: Text, by: User | None, by_policy: bool = False
) -> CheckpointDeletion:
    """Move ``checkpoint``, with all files of its folder, to the trash, unless something needs it.
    ``by_policy``: also what was tagged and has been archived since stays. Raises NotACheckpoint,
    CheckpointGone, InUse."""
    if not checkpoint.is_checkpoint:
        raise NotACheckpoint(Message("%(id)s is not a checkpoint.", id=checkpoint.pk))
    with transaction.atomic():
        lock_promotions()
        # In the order of a new run, which locks its project and then the checkpoint that it begins
        # from: the record refers to the project.
        Project.objects.select_for_update(no_key=True).get(pk=checkpoint.run.project_id)
        run = lock_run(checkpoint.run)
        locked = _locked(checkpoint)
        files = _files_of(run, locked)
        nested = [file for file in files if file.is_checkpoint]
        _refuse_needed(locked, nested, by_person=not by_policy)
        deletion = CheckpointDeletion.objects.create(
            project_id=run.project_id,
            run=run,
            run_name=run.name,
            checkpoint_key=locked.pk,
            name=locked.name,
            file=locked.file,
            step=locked.step,
            file_count=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            sha256=locked.sha256,
            digest=digest_of_files(files),
            reason=reason,
            by_policy=by_policy,
            deleted_by=by,
            deleted_by_name="" if by is None else by.get_username(),
        )
        # Not by save(): they come back as they were, with the times of their changes.
        Artifact.objects.filter(pk__in=[file.pk for file in files]).update(deletion=deletion)
        deletion.refresh_from_db()
    return deletion


def _locked(checkpoint: Artifact) -> Artifact:
    rows = Artifact.objects.select_for_update(no_key=True, of=("self",)).select_related("run")
    locked = rows.filter(pk=checkpoint.pk).first()
    if locked is None:
        raise CheckpointGone(Message("%(id)s has been deleted.", id=checkpoint.pk))
    return locked


def _files_of(run: Run, checkpoint: Artifact) -> list[Artifact]:
    """All of them, with their rows locked."""
    if not checkpoint.folder:
        return [checkpoint]
    files = uploaded_files(run).below(checkpoint.folder).select_related("run").order_by("id")
    return list(files.select_for_update(no_key=True, of=("self",)))


def _refuse_needed(checkpoint: Artifact, nested: list[Artifact], *, by_person: bool) -> None:
    """Raises InUse. ``nested``: it, and the checkpoints in its folder."""
    reasons = protections_of(nested, by_person=by_person)
    for each in nested:
        if each.pk in reasons:
            why = reasons[each.pk][0]
            raise InUse(Message("Checkpoint %(id)s is needed: %(why)s.", id=checkpoint.pk, why=why))


def restore(deletion: CheckpointDeletion, *, by: User | None) -> Artifact:
    """Take a checkpoint out of the trash, as it was. Members only. Raises RoleNeeded, NotInTrash,
    InTrash if its run is in the trash, PathTaken if something else is at its path now."""
    require_of(by, deletion.project_id, Role.MEMBER)
    with transaction.atomic():
        run = lock_run(deletion.run)
        if run.deleted_at is not None:
            raise in_trash(run.pk)
        locked = CheckpointDeletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        if not locked.is_in_trash:
            raise _not_in_trash(locked)
        files = _removed(locked).select_related("run")
        for file in files:
            if file.is_uploaded:
                _check_path_is_free(run, file)
        files.update(deletion=None)
        locked.note_restored(by)
    return Artifact.objects.select_related("run").get(pk=locked.checkpoint_key)


def _not_in_trash(deletion: CheckpointDeletion) -> NotInTrash:
    name, id = deletion.name, deletion.checkpoint_key
    if deletion.state is DeletionState.RESTORED:
        return NotInTrash(Message("%(name)s (%(id)s) was restored already.", name=name, id=id))
    if deletion.state is DeletionState.PURGING:
        return NotInTrash(
            Message("The bytes of %(name)s (%(id)s) are being deleted for good.", name=name, id=id)
        )
    return NotInTrash(
        Message("The bytes of %(name)s (%(id)s) have been deleted for good.", name=name, id=id)
    )


def _check_path_is_free(run: Run, file: Artifact) -> None:
    """Raises PathTaken."""
    check_path(run, file.file)
    place = file.folder or file.file
    others = uploaded_files(run).filter(file=file.file) | uploaded_files(run).below(place)
    if others.exists():
        raise PathTaken(Message("%(path)s has been uploaded again.", path=place))


def _removed(deletion: CheckpointDeletion) -> ArtifactQuerySet:
    return Artifact.every.filter(deletion=deletion)


def purge_now(deletion: CheckpointDeletion, *, by: User | None) -> CheckpointDeletion:
    """Have workers delete the bytes of what is in the trash without waiting until its time is over.
    What they delete already, or have deleted, is returned as it is. Maintainers only. Raises
    RoleNeeded, NotInTrash if it was restored."""
    require_of(by, deletion.project_id, Role.MAINTAINER)
    CheckpointDeletion.objects.filter(pk=deletion.pk).request_purge(by)
    deletion.refresh_from_db()
    if deletion.state is DeletionState.RESTORED:
        raise _not_in_trash(deletion)
    return deletion


def empty(project: Project, *, by: User | None, until: datetime | None = None) -> int:
    """The same for all that is in the trash of ``project``, and was moved there no later than
    ``until``; return how many checkpoints they are. Maintainers only. Raises RoleNeeded."""
    require_of(by, project.pk, Role.MAINTAINER)
    deletions = CheckpointDeletion.objects.filter(project=project)
    if until is not None:
        deletions = deletions.filter(trashed_at__lte=until)
    with transaction.atomic():
        # Two at once would lock the same rows, perhaps in another order.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        return deletions.request_purge(by)


def purge(*, limit: int = PURGED_AT_ONCE) -> int:
    """Delete the bytes of what has been in the trash for CHECKPOINT_TRASH_DAYS, or is to be deleted
    without waiting, and finish what an earlier pass has begun. Return how many checkpoints were
    purged. Several may do it at once."""
    purged = 0
    due = CheckpointDeletion.objects.due().values_list("pk", "run")
    for pk, run_id in list(due[:limit]):
        purged += _purge(pk, run_id)
    UnreferencedBlob.objects.finish_deletions(limit=BLOBS_AT_ONCE)
    return purged


def _purge(pk: str, run_id: str) -> int:
    """First the rows, with the keys of the blobs; on commit the blobs, which count themselves."""
    with transaction.atomic():
        # Before the record, as in restore: a training of it may be writing the same file again.
        Run.objects.select_for_update(no_key=True).filter(pk=run_id).values("pk").first()
        rows = CheckpointDeletion.objects.not_purged().filter(pk=pk)
        deletion = rows.select_for_update(skip_locked=True, no_key=True).first()
        if deletion is None:  # restored, or another worker purges it
            return 0
        files = list(_removed(deletion).select_related("run"))
        UnreferencedBlob.objects.release([file.storage_key for file in files], deletion=deletion)
        _removed(deletion).exclude(pk=deletion.checkpoint_key).delete()
        rows.update(purged_at=Now(), file_count=len(files))
    logger.info("purged the checkpoint %s of run %s", deletion.checkpoint_key, deletion.run_id)
    return 1


# --- runs that begin from what is removed ---------------------------------------------------------


def refuse_removed(*, run: Run, **_signal: Any) -> None:
    """Receiver of run_admitting: no run begins from what is in the trash. Locks the checkpoint,
    which is not moved there until the run is known. Raises CheckpointGone."""
    if run.resumed_from_id is not None:
        rows = Artifact.every.select_for_update(no_key=True)
        checkpoint = rows.filter(pk=run.resumed_from_id).first()
        if checkpoint is not None and checkpoint.deletion_id is not None:
            message = Message("%(id)s is in the trash, or deleted.", id=checkpoint.pk)
            raise CheckpointGone(message)
