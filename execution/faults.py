"""Errors of a worker's work: logged once each, noted on the run, tried again after a pause."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import transaction

from core.database_errors import outage_of, problem_of
from core.exceptions import DomainError
from core.log_context import log_context
from core.messages import Message, words_of
from core.text import storable
from execution.pauses import Pauses
from runs import troubles
from runs.models import EventKind, LeaseLost, Run, Worker
from runs.status import RunStatus

logger = logging.getLogger(__name__)


class Faults:
    """What has failed in the work of ``worker``. ``pauses``: of what is tried again, by its name or
    its run's id."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pauses = Pauses()

    @contextmanager
    def surviving(self, what: str) -> Iterator[None]:
        """Log an error of ``what``, once each: a later pass tries again."""
        try:
            yield
        except Exception as error:
            if outage_of(error) is not None:
                raise
            problem = problem_of(error)
            if self.pauses.failed(what, repr(problem or error)):
                logger.error("%s failed: %s", what, error, exc_info=problem is None)
        else:
            self.pauses.succeeded(what)

    @contextmanager
    def isolating(self, run: Run, key: str = "") -> Iterator[None]:
        """Log an error of one run (a full disk, unreachable storage) and note it on the run, so
        that it does not stop the others; a later pass retries it. A database that is away makes
        the loop wait. ``key``: what is paused for a while, by default the run."""
        about = log_context(run=run.pk, attempt=str(run.attempt), worker=self.worker.name)
        with about, self.ignoring_lost_lease(run):
            try:
                yield
            except LeaseLost:
                raise
            except Exception as error:
                if outage_of(error) is not None:
                    raise
                if problem_of(error) is not None:
                    self._postpone(run, key or run.pk, error)
                else:
                    self._note(run, key or run.pk, error)

    @contextmanager
    def ignoring_lost_lease(self, run: Run) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            logger.info("run %s is no longer this worker's", run.pk)

    def _postpone(self, run: Run, key: str, error: Exception) -> None:
        """Begin a pause of ``key``, which something else has locked: not even that can be noted."""
        if self.pauses.failed(key, type(problem_of(error)).__name__):
            logger.warning("run %s waits: %s", run.pk, error)

    def _note(self, run: Run, key: str, error: Exception) -> None:
        """Begin the next pause of ``key``, and tell the log and the run's readers why."""
        is_known = isinstance(error, DomainError)  # e.g. a full disk
        why = words_of(error) if is_known else storable(f"{type(error).__name__}: {error}")
        reason = Message("Its worker met an error and tries again: %(why)s", why=why)
        is_new = self.pauses.failed(key, reason)
        if is_new or key == run.pk:  # a stop is tried at every pass
            level = logging.WARNING if is_known else logging.ERROR
            text = "run %s could not be advanced: %s"
            logger.log(level, text, run.pk, why, exc_info=not is_known)
        if is_new:
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.begin(locked, EventKind.FAULT, reason, worker=self.worker)

    def end(self, run: Run) -> None:
        """End the fault of a run that has been advanced: of this worker, or of an earlier one,
        which is known by the run's reason."""
        failed = self.pauses.succeeded(run.pk) is not None
        waits = run.status == RunStatus.QUEUED  # its reason is its cluster's
        if failed or (run.status_reason and not waits):
            with suppress(LeaseLost), transaction.atomic():  # it may have ended
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.end(locked, EventKind.FAULT, worker=self.worker)
