"""What is written down of the time of runs."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.json_field import JSONField
from goodput.parts import Part
from runs.models import Run


class AttemptRecord(models.Model):
    """What is known of an attempt that has ended while its run goes on, written down before the
    next one deletes its last points. What it holds is explained by goodput/attempts.py."""

    pk = models.CompositePrimaryKey("run_id", "number")
    run = models.ForeignKey(Run, models.CASCADE, related_name="attempt_records", db_index=False)
    number = models.PositiveSmallIntegerField()
    start_step = models.BigIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    # The last heartbeat of a worker that has died.
    alive_until = models.DateTimeField(null=True)
    evaluates = models.BooleanField(default=False)
    steps = JSONField(default=list)  # [Unix time in microseconds, step], in order
    pauses = JSONField(default=list)  # [part, begin, end], in microseconds

    class Meta:
        verbose_name = _("record of an attempt")
        verbose_name_plural = _("records of attempts")

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"


class DayAccount(models.Model):
    """Where the time of a run went on a day, in UTC: sums of them are what reports consist of.

    What runs are grouped by is repeated here, so that a report reads this table alone. The parts
    are in microseconds of wall time; each counts ``gpu_count`` times in GPU time.
    """

    pk = models.CompositePrimaryKey("run_id", "day")
    run = models.ForeignKey(Run, models.CASCADE, related_name="day_accounts", db_index=False)
    day = models.DateField(_("day"))
    project = models.ForeignKey("projects.Project", models.CASCADE, db_index=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, db_index=False
    )
    # The name of its GPU pool; its GPU type, if none counts it.
    pool = models.CharField(_("GPU pool"), max_length=64)
    gpu_count = models.IntegerField(_("GPUs"))
    # Whether it is the run's first day. Its days follow each other: the run is counted where it is
    # this one, or the first one that is asked for.
    is_first = models.BooleanField()
    training = models.BigIntegerField(Part.TRAINING.label, default=0)
    repeated = models.BigIntegerField(Part.REPEATED.label, default=0)
    saving = models.BigIntegerField(Part.SAVING.label, default=0)
    evaluating = models.BigIntegerField(Part.EVALUATING.label, default=0)
    starting = models.BigIntegerField(Part.STARTING.label, default=0)
    stalled = models.BigIntegerField(Part.STALLED.label, default=0)
    stopping = models.BigIntegerField(Part.STOPPING.label, default=0)
    down = models.BigIntegerField(Part.DOWN.label, default=0)
    waiting = models.BigIntegerField(Part.WAITING.label, default=0)
    # Of the time in which it held GPUs: if their utilization was measured all of it, otherwise 0;
    # and, by its mean over all the run, how much of it they were idle.
    measured = models.BigIntegerField(default=0)
    idle = models.BigIntegerField(default=0)
    # Until when it counts: of a run that goes on, the parts of the last day grow.
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name = _("account of a day")
        verbose_name_plural = _("accounts of days")
        indexes = (
            models.Index(fields=["day"], name="dayaccount_day"),
            models.Index(fields=["project", "day"], name="dayaccount_project"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.day}"
