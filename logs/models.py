"""Log lines, summaries of blocks of lines, and batches that clients sent."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.json_field import JSONField
from runs.models import Run

MAX_SOURCE_LENGTH = 64
MAX_RANK = 2**31 - 1


class LogLevel(models.TextChoices):
    DEBUG = "DEBUG", "DEBUG"
    INFO = "INFO", "INFO"
    WARNING = "WARNING", "WARNING"
    ERROR = "ERROR", "ERROR"
    CRITICAL = "CRITICAL", "CRITICAL"


class LogLine(models.Model):
    """A line of a run's log, never changed.

    ``seq`` is dense within the run, from 1: page N of size S is a range of it, and the run's
    ``log_count`` is its maximum.

    The primary key is the only index: searches by time, level or text use LogBlock.
    """

    pk = models.CompositePrimaryKey("run_id", "seq")
    # No database constraint: checking it would cost more than inserting the line.
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="log_lines", db_constraint=False, db_index=False
    )
    seq = models.BigIntegerField(_("number"))
    timestamp = models.DateTimeField(_("time"))
    level = models.CharField(_("level"), max_length=8, choices=LogLevel)
    source = models.CharField(_("source"), max_length=MAX_SOURCE_LENGTH, blank=True)
    # Of the process in distributed training; None if there is only one process.
    rank = models.IntegerField(_("rank"), null=True, blank=True)
    message = models.TextField(_("message"))

    class Meta:
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"


class LogBlock(models.Model):
    """Summary of a block of blocks.BLOCK_LINES lines, so that a search can skip it.

    Block ``number`` (from 0) starts at line number * BLOCK_LINES + 1. It is written when its last
    line is appended and never changed. Searches read the lines of blocks without a summary.
    """

    pk = models.CompositePrimaryKey("run_id", "number")
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="log_blocks", db_constraint=False, db_index=False
    )
    number = models.BigIntegerField()
    first_time = models.DateTimeField()
    last_time = models.DateTimeField()
    # {"level": {level: lines}, "source": {source: lines}, "rank": {rank: lines}}
    tallies = JSONField()
    trigrams = models.BinaryField()  # a Bloom filter of the messages; see logs/blocks.py

    class Meta:
        verbose_name = _("log block")
        verbose_name_plural = _("log blocks")

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"


class LogBatch(models.Model):
    """A batch of lines that a client sent, recorded so that appending is idempotent.

    ``key``: a digest of the client's name for the batch, or of its lines if it has no name.
    """

    pk = models.CompositePrimaryKey("run_id", "key")
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="log_batches", db_constraint=False, db_index=False
    )
    key = models.BinaryField(max_length=16)
    content = models.BinaryField(max_length=16)  # digest of its lines
    first_seq = models.BigIntegerField()
    count = models.IntegerField()

    class Meta:
        verbose_name = _("log batch")
        verbose_name_plural = _("log batches")

    def __str__(self) -> str:
        return f"{self.run_id} {self.first_seq}"
