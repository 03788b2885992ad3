"""Bytes in the storage that no artifact names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

from django.db import DatabaseError, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from artifacts.storage import artifact_storage
from trainhub.exceptions import DomainError

logger = logging.getLogger(__name__)


class UploadExpired(DomainError):
    code = "upload_expired"


class LooseBytesQuerySet(models.QuerySet["LooseBytes"]):
    def drop(self, keys: Iterable[str]) -> None:
        """Delete the bytes of these keys, but for those that an artifact names by now, or that
        somebody else is just deleting. What the storage does not delete stays, for a later sweep.
        """
        for key in keys:
            try:
                with transaction.atomic():
                    if self.filter(key=key).select_for_update(skip_locked=True).exists():
                        artifact_storage().delete(key)
                        self.filter(key=key).delete()
            except DatabaseError:
                raise
            except Exception:  # whatever storage it is: OSError, boto's own
                logger.exception("loose bytes stay: %s", key)
                self.filter(key=key).update(since=Now())  # behind all others

    def sweep(self) -> None:
        """Delete what was left behind long ago: by a process that was killed, by a storage that
        did not answer."""
        left = self.filter(since__lt=Now() - self.model.ABANDONED).order_by("since", "key")
        self.drop([loose.key for loose in left[: self.model.SWEPT_AT_ONCE]])


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
