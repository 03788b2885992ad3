from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class LogLevel(models.TextChoices):
    DEBUG = "DEBUG", "DEBUG"
    INFO = "INFO", "INFO"
    WARNING = "WARNING", "WARNING"
    ERROR = "ERROR", "ERROR"
    CRITICAL = "CRITICAL", "CRITICAL"


class LogLine(models.Model):
    """A line that a run printed. ``seq`` is dense within the run, from 1: page N of size S is a
    range of it, and the run's ``log_count`` is its maximum."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="log_lines", db_index=False)
    seq = models.BigIntegerField(_("number"))
    timestamp = models.DateTimeField(_("time"))
    level = models.CharField(_("level"), max_length=8, choices=LogLevel)
    source = models.CharField(_("source"), max_length=64, blank=True)
    # Of the process among those of a distributed training; None where there is but one.
    rank = models.IntegerField(_("rank"), null=True, blank=True)
    message = models.TextField(_("message"))

    class Meta:
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        indexes = (
            # Time filters of the log endpoint; lines arrive nearly in time's order.
            models.Index(fields=["run", "timestamp"], name="logline_run_time"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"
