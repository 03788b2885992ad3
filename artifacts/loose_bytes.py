"""Bytes in the storage that no artifact names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from artifacts.storage import artifact_storage
from trainhub.exceptions import DomainError


class UploadExpired(DomainError):
    code = "upload_expired"


class LooseBytesQuerySet(models.QuerySet["LooseBytes"]):
    def drop(self, keys: Iterable[str]) -> None:
        """Delete the bytes of these keys, but for those that an artifact names by now."""
        with transaction.atomic():
            loose = list(
                self.filter(key__in=keys).select_for_update().values_list("key", flat=True)
            )
            self.filter(key__in=loose).delete()
            for key in loose:
                artifact_storage().delete(key)

    def sweep(self) -> None:
        """Delete what was left behind long ago: by a process that was killed, by a storage that
        did not answer."""
        left = self.filter(since__lt=Now() - self.model.ABANDONED)[: self.model.SWEPT_AT_ONCE]
        self.drop([loose.key for loose in left])


class LooseBytes(models.Model):
    """Bytes of an upload that no artifact names: not yet, or no longer. Written down first, so that
    whatever dies in between leaves nothing for ever."""

    key = models.CharField(primary_key=True, max_length=200)
    since = models.DateTimeField(db_default=Now(), db_index=True)

    objects = LooseBytesQuerySet.as_manager()

    ABANDONED = timedelta(days=1)  # longer than any upload takes
    SWEPT_AT_ONCE = 10

    class Meta:
        verbose_name = _("loose bytes")
        verbose_name_plural = _("loose bytes")

    def __str__(self) -> str:
        return self.key

    def claim(self) -> None:
        """An artifact names them, in this transaction. Raises UploadExpired."""
        claimed, _models = LooseBytes.objects.filter(key=self.key).delete()
        if not claimed:
            raise UploadExpired(_t("The upload took too long: its bytes were swept away."))
