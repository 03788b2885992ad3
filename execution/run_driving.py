"""Advancing runs through their executors: their work is started, polled, stopped and settled."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from core.database import current_time
from core.database_errors import problem_of
from core.messages import Message, Text, words_of
from core.text import storable
from execution.faults import Faults
from execution.stalls import may_stall, stall
from execution.tasks import Tasks
from logs.appending import append_log
from logs.lines import Line
from logs.models import LogLevel
from runs import actions
from runs.cluster_queue import start_in_cluster, wait_in_cluster
from runs.executors import CannotStart, Executor, Postponed, WorkState, WorkStatus
from runs.models import EventKind, LeaseLost, Run, Worker
from runs.status import RunStatus

logger = logging.getLogger(__name__)

HAS_BEGUN: Final = {WorkState.WORKING, WorkState.STORING, WorkState.FINISHED}
SAME_START: Final = timedelta(minutes=1)  # estimates that differ by less are the same


class RunDriver:
    """Advances the runs that ``worker`` holds, one call each, from any thread."""

    def __init__(
        self,
        worker: Worker,
        executors: Mapping[str, Executor],
        faults: Faults,
        readopted: set[str],
    ) -> None:
        """``readopted``: ids of runs of an earlier process, not polled since."""
        self.worker = worker
        self._executors = executors
        self._faults = faults
        # (run, attempt) -> monotonic seconds. By attempt: a run that was stopped because it had
        # stalled begins another.
        self._stop_sent_at: dict[tuple[str, int], float] = {}
        self._readopted = readopted

    def readopt(self, run: Run) -> None:
        """Keep a run that an earlier process of this worker held. Its process may still run, but
        work in the database died with that worker. Idempotent. Raises LeaseLost."""
        if run.pk in self._readopted:
            return
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, run.pk)
            if self.executor_of(run).in_database:
                reason = Message("Its worker %(name)s died.", name=self.worker.name)
                actions.reap(locked, reason, by=self.worker)
                return
            locked.note(EventKind.READOPTED, worker=self.worker)
            if not self.executor_of(run).has_queue:  # a cluster's work does not end with it
                self._readopted.add(run.pk)

    def advance(self, run: Run) -> None:
        """Poll the run's work, start it if necessary, stop it if requested, settle it if ended."""
        with self._faults.isolating(run):
            self._advance(run)
            self._faults.end(run)

    def _advance(self, run: Run) -> None:
        executor = self.executor_of(run)
        polled_at = current_time() if may_stall(run) else None
        work = self._poll_or_start(run, executor)
        if executor.has_queue:
            work = self._follow_cluster(run, executor, work)
            if work.state is WorkState.WAITING:
                return
        if work.state is WorkState.WORKING and run.attempt_started_at is None:
            run.change(attempt_started_at=current_time())
        if polled_at is not None and self._has_stalled(run, work, polled_at):
            work = self._stop_if_still_stalled(run, executor)
        if work.state is WorkState.STORING:
            return
        if work.state is not WorkState.WORKING:
            self._stop_sent_at.pop((run.pk, run.attempt), None)
            self._settle(run, work)
            return
        self._readopted.discard(run.pk)
        if run.stop_requested_at is not None:
            self.request_stop(run)

    def _follow_cluster(self, run: Run, executor: Executor, work: WorkStatus) -> WorkStatus:
        """Let the run wait, or run, as its cluster does; end a run that only waits at once."""
        if work.state is WorkState.WAITING and run.stop_requested_at is not None:
            executor.kill(run, self.worker)
            work = executor.poll(run, self.worker)
        if work.state is WorkState.WAITING:
            if _waits_otherwise(run, work):
                wait_in_cluster(run, self.worker, reason=work.reason, starts_at=work.starts_at)
        elif work.state in HAS_BEGUN and (run.status == RunStatus.QUEUED or run.held_since is None):
            start_in_cluster(run, self.worker)
            logger.info("run %s was started by its cluster", run.pk)
        return work

    def _settle(self, run: Run, work: WorkStatus) -> None:
        """Settle a run whose work has ended; if it went with this worker's earlier process, that
        uses up no restart."""
        if run.pk in self._readopted and _fell_with_worker(work):
            reason = Message("Its worker %(name)s died.", name=self.worker.name)
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                actions.reap(locked, reason, by=self.worker)
        else:
            actions.settle(run, work, worker=self.worker)
        self._readopted.discard(run.pk)

    def _poll_or_start(self, run: Run, executor: Executor) -> WorkStatus:
        """The work's status; starts the work if it is absent."""
        work = executor.poll(run, self.worker)
        if work.state is not WorkState.ABSENT:
            return work
        try:
            if run.stop_requested_at is not None:
                executor.abandon(run, self.worker)
                return WorkStatus(WorkState.STOPPED)
            executor.start(run, self.worker)
            # A stop that came before could not ask anything.
            self._stop_sent_at.pop((run.pk, run.attempt), None)
        except Postponed:
            return WorkStatus(WorkState.STORING)
        except CannotStart as error:
            return WorkStatus(WorkState.FAILED, reason=words_of(error))
        return executor.poll(run, self.worker)

    def start_ending(self, tasks: Tasks, run: Run, end: Callable[[Run], None]) -> None:
        """Call ``end``, which stops or kills the run's work, next to what else is done for it."""
        key = f"stop {run.pk}"

        def work() -> None:
            with self._faults.isolating(run, key):
                end(run)
                self._faults.pauses.succeeded(key)

        tasks.start(key, work, urgent=True)

    def request_stop(self, run: Run) -> None:
        """Ask the work to stop; kill it after the grace period. This starts when the work is first
        asked, not when the user requested the stop: no worker may have been running then."""
        now = time.monotonic()
        sent_at = self._stop_sent_at.setdefault((run.pk, run.attempt), now)
        assert run.recipe is not None  # otherwise no worker would hold it
        executor = self.executor_of(run)
        if now - sent_at > run.recipe.stop_grace_seconds:
            executor.kill(run, self.worker)
        else:
            executor.stop(run, self.worker)

    def _has_stalled(self, run: Run, work: WorkStatus, polled_at: datetime) -> Text:
        """Why; "" if it has not, has ended, or is to stop anyway."""
        if work.state is not WorkState.WORKING or run.stop_requested_at is not None:
            return ""
        return stall(run, polled_at)

    def _stop_if_still_stalled(self, run: Run, executor: Executor) -> WorkStatus:
        """Store what the run hangs in; then, unless it has advanced or ended meanwhile, stop it."""
        self._diagnose(run, executor)
        polled_at = current_time()
        work = executor.poll(run, self.worker)
        reason = self._has_stalled(run, work, polled_at)
        if reason:
            actions.stop_stalled(run, reason, worker=self.worker)
        return work

    def _diagnose(self, run: Run, executor: Executor) -> None:
        """Also if this fails, the run is stopped."""
        try:
            executor.diagnose(run, self.worker)
        except LeaseLost:
            raise
        except Exception as error:
            if problem_of(error) is not None:
                raise
            logger.exception("run %s could not be diagnosed", run.pk)
            why = storable(f"{type(error).__name__}: {error}")
            text = f"The stacks of its processes could not be stored: {why}"
            line = Line.new(text, LogLevel.WARNING, "trainhub")
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                append_log(locked, [line], is_report=False)

    def is_on_this_host(self, run: Run) -> bool:
        executor = self.executor_of(run)
        return not (executor.in_database or executor.has_queue)

    def executor_of(self, run: Run) -> Executor:
        assert run.recipe is not None
        return self._executors[run.recipe.executor]


def _waits_otherwise(run: Run, work: WorkStatus) -> bool:
    """Whether its readers do not know yet how it waits."""
    if run.status != RunStatus.QUEUED or run.status_reason != work.reason:
        return True
    before, now = run.estimated_start, work.starts_at
    if before is None or now is None:
        return before is not now
    return abs(now - before) > SAME_START


def _fell_with_worker(work: WorkStatus) -> bool:
    """Whether work that ended while its worker was away went down with the host: without a note of
    its end, or by the SIGTERM of a system that shuts down."""
    by_shutdown = {None, -signal.SIGTERM, 128 + signal.SIGTERM}
    return work.state is WorkState.DIED and work.exit_code in by_shutdown
