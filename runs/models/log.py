from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from trainhub.json_field import JSONField


class LogLevel(models.TextChoices):
    DEBUG = "DEBUG", "DEBUG"
    INFO = "INFO", "INFO"
    WARNING = "WARNING", "WARNING"
    ERROR = "ERROR", "ERROR"
    CRITICAL = "CRITICAL", "CRITICAL"


class LogLine(models.Model):
    """A line that a run printed. ``seq`` is dense within the run, from 1: page N of size S is a
    range of it, and the run's ``log_count`` is its maximum. Lines are never changed.

    There is no index but the key: LogBlock says where the lines of a time, a level or a text are.
    """

    pk = models.CompositePrimaryKey("run_id", "seq")
    # No constraint in the database: checking it would cost more than writing the line.
    run = models.ForeignKey(
        "runs.Run", models.CASCADE, related_name="log_lines", db_constraint=False, db_index=False
    )
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

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"


class LogBlock(models.Model):
    """What is in a block of log_blocks.BLOCK_LINES lines, so that a search can pass it by.

    Block ``number`` (from 0) holds the lines number * BLOCK_LINES + 1 and on; it is written by
    whoever appends its last line and never changed. Readers do without the blocks that are not
    there: those lines they read themselves.
    """

    pk = models.CompositePrimaryKey("run_id", "number")
    run = models.ForeignKey(
        "runs.Run", models.CASCADE, related_name="log_blocks", db_constraint=False, db_index=False
    )
    number = models.BigIntegerField()
    first_time = models.DateTimeField()
    last_time = models.DateTimeField()
    # {"level": {level: lines}, "source": {source: lines}, "rank": {rank: lines}}
    tallies = JSONField()
    trigrams = models.BinaryField()  # a Bloom filter of the messages; see runs/log_blocks.py

    class Meta:
        verbose_name = _("log block")
        verbose_name_plural = _("log blocks")

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"


class LogBatch(models.Model):
    """A batch of lines that a client sent, so that sent again it counts once.

    ``key``: a digest of the name that the client gave it, or of its lines if it gave none.
    """

    pk = models.CompositePrimaryKey("run_id", "key")
    run = models.ForeignKey(
        "runs.Run", models.CASCADE, related_name="log_batches", db_constraint=False, db_index=False
    )
    key = models.BinaryField(max_length=16)
    content = models.BinaryField(max_length=16)  # a digest of its lines
    first_seq = models.BigIntegerField()
    count = models.IntegerField()

    class Meta:
        verbose_name = _("log batch")
        verbose_name_plural = _("log batches")

    def __str__(self) -> str:
        return f"{self.run_id} {self.first_seq}"
