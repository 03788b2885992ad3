"""Postpones storing a training's files while the storage takes none, and tells the run's readers.

Everything else goes on: its output is read, and it can be stopped. The run ends when its files have
been stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from django.db import transaction

from artifacts.storage_errors import StorageError
from core.messages import Text, dumps, words_of
from execution.executor_state import UnstoredNote
from execution.executors.attempt import Attempt
from execution.executors.notes import notes_of, write_notes
from runs import troubles
from runs.models import EventKind, Run, Worker

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 5.0  # doubled with every failure
LONGEST_PAUSE_SECONDS: Final = 300.0


class NotStored(Exception):
    """A file could not be stored for now. The message, for the user, says which and why."""


def is_due(unstored: UnstoredNote) -> bool:
    """Whether it is time to try again."""
    return time.time() >= unstored["retry_at"]


def store_or_postpone(
    run: Run, worker: Worker, attempt: Attempt, store: Callable[[], None]
) -> bool:
    """Call ``store``; if it raises NotStored or StorageError, postpone the next call and return
    False. Raises LeaseLost."""
    try:
        store()
    except (NotStored, StorageError) as error:
        _postpone(run, worker, attempt, words_of(error))
        return False
    return True


def _postpone(run: Run, worker: Worker, attempt: Attempt, reason: Text) -> None:
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        notes = notes_of(locked, attempt)
        before = notes.get("unstored")
        failures = 1 if before is None else before["failures"] + 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (failures - 1))
        unstored: UnstoredNote = {
            "reason": dumps(reason),
            "failures": failures,
            "retry_at": time.time() + pause,
        }
        write_notes(locked, attempt, {**notes, "unstored": unstored})
        if troubles.begin(locked, EventKind.NOT_STORED, reason, worker=worker):
            logger.warning("run %s: %s", run.pk, reason)


def note_stored(run: Run, worker: Worker, attempt: Attempt) -> None:
    """End a postponement. Raises LeaseLost."""
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        notes = notes_of(locked, attempt).copy()
        if notes.pop("unstored", None) is None:
            return
        write_notes(locked, attempt, notes)
        troubles.end(locked, EventKind.NOT_STORED, worker=worker)
