"""Tracks blobs in the storage that no artifact refers to, and deletes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from django.db import DatabaseError, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.deletion_hold import DeletionAllowed
from artifacts.storage import artifact_storage
from core.exceptions import DomainError
from core.messages import Message

logger = logging.getLogger(__name__)


class UploadExpired(DomainError):
    code = "upload_expired"


class UnreferencedBlobQuerySet(models.QuerySet["UnreferencedBlob"]):
    def track(self, key: str) -> None:
        """Record the blob before it is written; also if that is done again."""
        self.update_or_create(key=key, defaults={"since": Now(), "deletion": None})

    def renew(self, keys: Iterable[str]) -> None:
        """They are not abandoned: whoever tracks them is still at work."""
        self.filter(key__in=list(keys)).update(since=Now())

    def release(self, keys: Iterable[str], *, deletion: CheckpointDeletion | None = None) -> None:
        """Delete blobs that artifacts refer to no longer, on commit. ``deletion``: the record on
        which each of them is counted when it is deleted."""
        released = list(keys)
        blobs = [self.model(key=key) for key in released]
        self.bulk_create(blobs, ignore_conflicts=True)
        if deletion is not None:
            self.filter(key__in=released).update(deletion=deletion)
        transaction.on_commit(partial(self.drop, released), robust=True)

    def drop(self, keys: Iterable[str]) -> None:
        """Delete these blobs, except those that an artifact now refers to or that are being deleted
        concurrently. A later sweep deletes one that the storage fails to delete, or that a backup
        may still have to read."""
        for key in keys:
            try:
                with transaction.atomic():
                    blobs = self.filter(DeletionAllowed(), key=key)
                    blob = blobs.select_for_update(skip_locked=True, of=("self",)).first()
                    if blob is not None:
                        artifact_storage().delete(key)
                        if blob.deletion_id is not None:
                            CheckpointDeletion.objects.note_deleted_file(blob.deletion_id)
                        self.filter(key=key).delete()
            except DatabaseError:
                raise
            except Exception:  # depends on the storage: OSError, boto exceptions
                logger.exception("failed to delete unreferenced blob: %s", key)
                self.filter(key=key).update(since=Now())  # move it to the end of the queue

    def finish_deletions(self, *, limit: int) -> None:
        """Delete blobs of purged checkpoints that are left: whoever purged them was killed, or the
        storage was away."""
        left = self.exclude(deletion=None).order_by("since", "key")[:limit]
        self.drop([blob.key for blob in left])

    def sweep(self) -> None:
        """Delete old blobs left behind by a killed process or an unreachable storage."""
        abandoned = self.filter(since__lt=Now() - self.model.ABANDONED_AFTER)
        oldest = abandoned.order_by("since", "key")[: self.model.BLOBS_PER_SWEEP]
        self.drop([blob.key for blob in oldest])


class UnreferencedBlob(models.Model):
    """Bytes of an upload, or of a checkpoint of a worker's host, that no artifact refers to, either
    not yet or no longer. Recorded before they are written or released, so that neither a crash nor
    a lost lease leaks them."""

    key = models.CharField(primary_key=True, max_length=200)
    since = models.DateTimeField(db_default=Now(), db_index=True)
    # Of which removed checkpoint it is, if it is of one.
    deletion = models.ForeignKey(
        CheckpointDeletion, models.SET_NULL, null=True, related_name="+", db_index=False
    )

    objects = UnreferencedBlobQuerySet.as_manager()

    ABANDONED_AFTER = timedelta(days=1)  # longer than any upload takes
    BLOBS_PER_SWEEP = 10

    class Meta:
        verbose_name = _("unreferenced blob")
        verbose_name_plural = _("unreferenced blobs")
        indexes = (
            models.Index(
                fields=["deletion"],
                name="unreferencedblob_of_deletion",
                condition=models.Q(deletion__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.key

    def claim(self) -> None:
        """Mark the blob as referenced by an artifact, in the current transaction. Raises
        UploadExpired."""
        claimed, _models = UnreferencedBlob.objects.filter(key=self.key).delete()
        if not claimed:
            raise UploadExpired(Message("The upload took too long: its data has been deleted."))
