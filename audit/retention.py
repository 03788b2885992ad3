"""For how long entries are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

BATCH: Final = 5_000
LEAST_DAYS: Final = 7  # the database keeps these, whoever asks
PRUNE: Final = """
DELETE FROM audit_entry WHERE id IN (
    SELECT id FROM audit_entry WHERE at < %s ORDER BY at, id LIMIT %s FOR UPDATE SKIP LOCKED
)
"""  # the ORM's delete would read the rows


def prune() -> int:
    """Delete a batch of what is older than TRAINHUB_AUDIT_DAYS, the oldest first. Return how many:
    a full batch means that there are more."""
    before = timezone.now() - timedelta(days=max(settings.AUDIT_DAYS, LEAST_DAYS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL trainhub.audit = 'retention'")
        cursor.execute(PRUNE, [before, BATCH])
        count: int = cursor.rowcount
        return count
