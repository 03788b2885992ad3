"""Questions to workers: is this program on your host?"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from runs.commands import MAX_ARGUMENT_LENGTH, MAX_VALUE_LENGTH
from runs.models.recipe import ExecutorName
from runs.models.worker import Worker

KEPT: Final = timedelta(days=1)


def digest_of(program: str, search_path: str) -> str:
    return hashlib.sha256(f"{program}\0{search_path}".encode()).hexdigest()


class ProgramCheckQuerySet(models.QuerySet["ProgramCheck"]):
    def ask(self, program: str, search_path: str) -> None:
        """Ask every live worker that starts processes, again if it has been asked before."""
        self.filter(requested_at__lt=Now() - KEPT).delete()
        asked = Worker.objects.alive().filter(executors__contains=[ExecutorName.PROCESS])
        self.bulk_create(
            [
                ProgramCheck(
                    worker=worker,
                    digest=digest_of(program, search_path),
                    program=program,
                    search_path=search_path,
                    requested_at=Now(),
                )
                for worker in asked
            ],
            update_conflicts=True,
            unique_fields=["worker", "digest"],
            update_fields=["requested_at", "answered_at", "path"],
        )

    def of(self, program: str, search_path: str) -> ProgramCheckQuerySet:
        """What the live workers have been asked about the program, and have answered."""
        asked = self.filter(digest=digest_of(program, search_path))
        return asked.filter(worker__in=Worker.objects.alive()).select_related("worker")

    def unanswered(self, worker: Worker) -> ProgramCheckQuerySet:
        return self.filter(worker=worker, answered_at=None)


class ProgramCheck(models.Model):
    """One question to one worker. The worker answers in its next pass."""

    id = models.BigAutoField(primary_key=True)
    worker = models.ForeignKey(
        Worker, models.CASCADE, related_name="program_checks", db_index=False
    )
    # Of the two that follow, which are too long for an index.
    digest = models.CharField(max_length=64, db_collation="C")
    program = models.CharField(_("program"), max_length=MAX_ARGUMENT_LENGTH)
    # PATH of the recipe's environment; blank: the worker's.
    search_path = models.CharField(max_length=MAX_VALUE_LENGTH, blank=True)
    requested_at = models.DateTimeField(_("requested at"))
    answered_at = models.DateTimeField(_("answered at"), null=True)
    path = models.TextField(_("path"), blank=True)  # where it is; blank: nowhere

    objects = ProgramCheckQuerySet.as_manager()

    class Meta:
        verbose_name = _("program check")
        verbose_name_plural = _("program checks")
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(name="programcheck_once", fields=["worker", "digest"]),
        )
        indexes = (
            # Every pass of a worker looks for those it is to answer.
            models.Index(
                fields=["worker"], name="programcheck_unanswered", condition=Q(answered_at=None)
            ),
        )

    def __str__(self) -> str:
        return f"{self.worker_id} {self.program}"

    def answer(self, path: str) -> None:
        """``path``: where the program is on the worker's host; "" if it is not there."""
        ProgramCheck.objects.filter(pk=self.pk, requested_at=self.requested_at).update(
            path=path, answered_at=Now()
        )
