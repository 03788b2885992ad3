"""Keeps the bytes of deleted artifacts in the storage while a backup copies them.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db import models

DELETION_LOCK: Final = 0x6465_6C65  # must differ from the keys of TrainHub's other advisory locks


class DeletionAllowed(models.Func):
    """A condition of a query: whether nobody holds deletions. If so, nobody can until the
    transaction ends."""

    function = "pg_try_advisory_xact_lock_shared"
    output_field = models.BooleanField()

    def __init__(self) -> None:
        super().__init__(models.Value(DELETION_LOCK, output_field=models.BigIntegerField()))


def hold_deletions(connection: Any, *, waiting: Callable[[], object] = lambda: None) -> None:
    """Until the transaction of this psycopg connection ends, nothing that an artifact refers to now
    is deleted from the storage. Waits for deletions in progress and for others that hold them, such
    as a backup, which may take hours; calls ``waiting`` before."""
    held = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [DELETION_LOCK])
    if not held.fetchone()[0]:
        waiting()
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [DELETION_LOCK])


def holds_deletions(connection: Any) -> bool:
    """Whether the hold has lasted until now. False if the connection was lost."""
    held = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND pid = pg_backend_pid() AND objid = %s AND mode = 'ExclusiveLock')",
        [DELETION_LOCK],
    )
    return bool(held.fetchone()[0])
