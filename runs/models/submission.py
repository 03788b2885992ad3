"""Requests for new runs that carry a key, so that one that is repeated makes no second run."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Submission(models.Model):
    """A request with an Idempotency-Key, and the run that it made."""

    key = models.CharField(primary_key=True, max_length=64, db_collation="C")  # a digest
    request_digest = models.CharField(max_length=64)
    run = models.ForeignKey("runs.Run", models.CASCADE, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return self.key[:12]
