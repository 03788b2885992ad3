"""Workers: the processes that execute runs."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from core.exceptions import DomainError
from core.ids import PublicIdField

logger = logging.getLogger(__name__)


class WorkerInUse(DomainError):
    """The worker is alive, or still holds runs."""

    code = "worker_in_use"


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        lease = timedelta(seconds=settings.WORKER_LEASE_SECONDS)
        return self.filter(stopped_at=None, last_heartbeat__gte=Now() - lease)

    def draining(self) -> WorkerQuerySet:
        return self.filter(draining=True)


class Worker(models.Model):
    """A worker process. Its lease on its runs lasts as long as its heartbeat is fresh."""

    id = PublicIdField(prefix="worker")
    name = models.CharField(_("name"), max_length=200, unique=True)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process ID"))
    executors = ArrayField(models.CharField(max_length=16), verbose_name=_("executors"))
    slots = models.PositiveSmallIntegerField(_("slots"))
    # The GPUs of its host, as the variable for a process names them; None if it knows none.
    devices = ArrayField(
        models.CharField(max_length=64),
        verbose_name=_("devices"),
        null=True,
        blank=True,
        editable=False,
    )
    # The UUID of each of ``devices``, "" where it is not known. Workers in containers of a machine
    # have hosts of their own, and may see the same devices.
    device_uuids = ArrayField(
        models.CharField(max_length=64, blank=True), default=list, blank=True, editable=False
    )
    # The model of each of ``devices``, "" where it is not known.
    device_models = ArrayField(
        models.CharField(max_length=64, blank=True),
        default=list,
        db_default=[],
        blank=True,
        editable=False,
    )
    # Incremented at each start: a process with an older value has been replaced.
    incarnation = models.PositiveIntegerField(_("incarnation"), default=1)
    started_at = models.DateTimeField(_("started at"))
    last_heartbeat = models.DateTimeField(_("last heartbeat"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    # It claims no runs, and goes on with those it holds. Kept when it starts again.
    draining = models.BooleanField(_("draining"), default=False, db_default=False)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("-last_heartbeat",)

    def __str__(self) -> str:
        return self.name

    def uuid_of(self, device: str) -> str:
        """The UUID of one of its devices; "" if it is not known."""
        return dict(zip(self.devices or (), self.device_uuids, strict=False)).get(device, "")

    @property
    def is_alive(self) -> bool:
        lease = timedelta(seconds=settings.WORKER_LEASE_SECONDS)
        return self.stopped_at is None and timezone.now() - self.last_heartbeat < lease

    def drain(self, *, by: User | None) -> None:
        """Let it claim no more runs; those it holds go on. Idempotent."""
        self._set_draining(True, by)

    def undrain(self, *, by: User | None) -> None:
        """Let it claim runs again. Idempotent."""
        self._set_draining(False, by)

    def _set_draining(self, draining: bool, by: User | None) -> None:
        changed = Worker.objects.filter(pk=self.pk).exclude(draining=draining)
        if changed.update(draining=draining):
            logger.info("worker %s: draining is %s by %s", self.name, draining, by)
        self.draining = draining

    def remove(self, *, by: User | None) -> None:
        """Delete the row of a worker that is gone. Raises WorkerInUse."""
        with transaction.atomic():
            current = Worker.objects.select_for_update().filter(pk=self.pk).first()
            if current is None:
                return
            if current.is_alive:
                raise WorkerInUse(
                    _t("%(name)s is alive: stop its process before removing it.")
                    % {"name": current.name}
                )
            held = current.runs.active().count()
            if held:
                raise WorkerInUse(
                    _t("%(name)s still holds runs (%(count)d): another worker must recover them.")
                    % {"name": current.name, "count": held}
                )
            current.delete()
        logger.info("worker %s removed by %s", self.name, by)
