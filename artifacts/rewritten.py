"""Removed checkpoints whose bytes a training writes again."""

from __future__ import annotations

from artifacts.checkpoint_deletions import CheckpointDeletion, DeletionState
from artifacts.models import Artifact
from artifacts.unreferenced_blobs import UnreferencedBlob
from runs.models import Run


def take_back(run: Run, file: str) -> Artifact | None:
    """The removed checkpoint whose key a training writes again, no longer removed; None if there is
    none. Its bytes are those that have just been written. Call with the run's row locked."""
    rows = Artifact.every.removed().own().filter(run=run, file=file)
    artifact = rows.select_for_update(of=("self",)).select_related("deletion").first()
    if artifact is None:
        return None
    deletion = artifact.deletion
    assert deletion is not None
    UnreferencedBlob.objects.filter(key=artifact.storage_key).delete()
    deletion.refresh_from_db()  # that may have waited for who deletes the bytes
    if deletion.purged_at is None:  # also if it is to be purged: no worker has begun to
        deletion.note_restored(None)
    elif deletion.state is DeletionState.PURGING:  # the storage has other bytes under the key
        CheckpointDeletion.objects.note_deleted_file(deletion.pk)
    artifact.deletion = None
    artifact.save(update_fields=["deletion"])
    return artifact
