"""Uploads whose bytes clients send to S3 themselves: from their begin until they are artifacts."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from artifacts.direct_transfers import transfers_of_earlier
from artifacts.kinds import ArtifactType
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.exceptions import DomainError
from core.ids import PublicIdField
from core.message_field import MessageField
from runs.models import Run

logger = logging.getLogger(__name__)

LASTS: Final = UnreferencedBlob.ABANDONED_AFTER
KEPT_FOR: Final = timedelta(days=7)
SWEPT_AT_ONCE: Final = 10


class UploadStatus(models.TextChoices):
    OPEN = "open"  # its parts are sent
    CHECKING = "checking"  # all are there: they are read
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"


class DirectUploadQuerySet(models.QuerySet["DirectUpload"]):
    def abandoned(self) -> DirectUploadQuerySet:
        """Those whose parts S3 still has and nobody needs."""
        over = ~Q(status=UploadStatus.OPEN) | Q(expires_at__lt=Now()) | Q(run=None)
        return self.filter(over, has_parts=True)

    def sweep(self) -> None:
        """Abort what has been abandoned, some of it, and forget what ended long ago."""
        for upload in self.abandoned().order_by("expires_at", "pk")[:SWEPT_AT_ONCE]:
            try:
                upload.abort()
            except DomainError:  # S3 is away, or another process was faster
                logger.warning("failed to abort direct upload %s", upload.pk, exc_info=True)
                # Move it to the end of the queue.
                self.filter(pk=upload.pk).update(expires_at=Now() - timedelta(seconds=1))
        ended = self.filter(has_parts=False).exclude(status=UploadStatus.CHECKING)
        old = ended.filter(created_at__lt=Now() - KEPT_FOR)
        self.filter(pk__in=old.order_by("created_at").values("pk")[:1000]).delete()


class DirectUpload(models.Model):
    """Its bytes are tracked as an UnreferencedBlob under ``key`` until an artifact refers to them;
    the parts of which S3 makes them, by ``has_parts``."""

    id = PublicIdField(prefix="upload")
    # None once the run has been deleted: the parts are still to be.
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="direct_uploads")
    file = models.CharField(max_length=500)
    type = models.CharField(max_length=16, choices=ArtifactType, blank=True)
    step = models.BigIntegerField(null=True)
    # As announced; None and empty if the client did not say.
    size_bytes = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    part_count = models.PositiveIntegerField()
    part_size = models.BigIntegerField(null=True)
    key = models.CharField(max_length=200, unique=True)
    stored_as = models.CharField(max_length=64)
    multipart_id = models.TextField(blank=True)  # in S3
    has_parts = models.BooleanField(default=True)
    status = models.CharField(max_length=9, choices=UploadStatus, default=UploadStatus.OPEN)
    problem = MessageField(blank=True)  # of one that failed
    # No reverse relation: an upload does not keep its artifact (ArtifactQuerySet.in_use).
    artifact = models.ForeignKey("artifacts.Artifact", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    # Nobody else reads its bytes before.
    check_after = models.DateTimeField(null=True)

    objects = DirectUploadQuerySet.as_manager()

    class Meta:
        verbose_name = _("direct upload")
        verbose_name_plural = _("direct uploads")
        constraints = (
            models.CheckConstraint(
                name="directupload_status_known", condition=Q(status__in=UploadStatus.values)
            ),
        )
        indexes = (
            models.Index(
                fields=["check_after"],
                name="directupload_to_check",
                condition=Q(status=UploadStatus.CHECKING),
            ),
            models.Index(
                fields=["expires_at"], name="directupload_parts", condition=Q(has_parts=True)
            ),
            models.Index(fields=["created_at"], name="directupload_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.file} ({self.id})"

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    def size_of_part(self, number: int) -> int | None:
        """In bytes, of the part ``number`` from 1; None if the client did not say."""
        if self.part_size is None or self.size_bytes is None:
            return None
        return min(self.part_size, self.size_bytes - (number - 1) * self.part_size)

    def change_from(self, *before: UploadStatus, **fields: object) -> bool:
        """Set ``fields`` if the status is one of ``before``; whether it was. The object has what
        the row has then."""
        changed = DirectUpload.objects.filter(pk=self.pk, status__in=before).update(**fields)
        self.refresh_from_db()
        return bool(changed)

    def abort(self) -> None:
        """Delete all that was sent, unless it is an artifact by now; also if that is done again.
        Raises StorageError: a later sweep does it then."""
        self.change_from(UploadStatus.OPEN, UploadStatus.CHECKING, status=UploadStatus.ABORTED)
        if self.status == UploadStatus.COMPLETED:
            return
        self.clear()

    def clear(self) -> None:
        """Delete the parts and the bytes of an upload that has ended without an artifact. Raises
        StorageError."""
        transfers = transfers_of_earlier()
        if self.has_parts and transfers is not None:
            transfers.abort(self.key, self.multipart_id)
        DirectUpload.objects.filter(pk=self.pk).update(has_parts=False)
        self.has_parts = False
        UnreferencedBlob.objects.drop([self.key])
