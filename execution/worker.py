"""The worker's loop: it claims runs, advances them through their executors and settles them."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from artifacts.direct_upload_checks import check_due
from artifacts.direct_uploads import DirectUpload
from audit import retention
from core.database import current_time
from core.database_errors import outage_of, problem_of
from core.exceptions import DomainError
from core.log_context import log_context
from core.messages import Message, Text, words_of
from core.migration_state import has_every_migration
from core.outages import Outage
from core.text import storable
from execution import devices
from execution.devices import DeviceSource
from execution.host_metrics import Sampler
from execution.pauses import Pauses
from execution.pool_discovery import discover_pools
from execution.program_checks import answer_checks
from execution.scheduling.claiming import claim
from execution.stalls import may_stall, stall
from execution.tasks import InlineTasks, Tasks, ThreadedTasks
from goodput.accounting import Accountant
from logs.appending import append_log
from logs.lines import Line
from logs.models import LogLevel
from metrics.run_index import index_runs
from notices import sending
from notices.rules import check_rules
from registry.retention_driving import RetentionDriver
from registry.rule_driving import RuleDriver
from runs import actions, troubles, unmanaged
from runs.executors import CannotStart, Executor, Postponed, WorkState, WorkStatus
from runs.executors import executors as executors_by_name
from runs.models import EventKind, LeaseLost, Run, Worker
from runs.status import RunStatus
from sweeps.driving import SweepDriver

logger = logging.getLogger(__name__)

KEEP_STOPPED_WORKERS = timedelta(days=7)
TIDY_SECONDS = 30.0
WIND_DOWN_POLL_SECONDS = 0.05
KILL_SECONDS = 2.0  # how long to wait for killed processes when leaving
# How long a pass waits for the work of its runs before it claims others: mostly all is done by
# then, and the slots of runs that have ended are free.
QUICK_SECONDS = 0.2
DATABASE: Final = "database"  # the key of its pauses
INDEXING: Final = "indexing runs"
ACCOUNTING: Final = "accounting runs"
HAS_BEGUN: Final = {WorkState.WORKING, WorkState.STORING, WorkState.FINISHED}
SAME_START: Final = timedelta(minutes=1)  # estimates that differ by less are the same
SWEEPING: Final = "advancing sweeps"
RULES_SECONDS = 5.0
SENDERS: Final = 2  # of notices: a receiver that is slow delays not all others
CHECKERS: Final = 2  # of direct uploads: one that is large delays not all others
EVALUATING: Final = "following evaluation rules"
RETAINING: Final = "applying policies of checkpoints"
NOTED_OUTAGE_SECONDS = 10.0  # an outage that lasts longer is told to the readers of its runs


class Replaced(Exception):
    """Another process has registered under this worker's name and replaced it."""


class Outdated(Exception):
    """The database lacks migrations of this version."""


class WorkerLoop:
    """One worker: it repeatedly reaps, advances its runs, and claims runs into free slots.

    The loop itself only decides. The work of each run is done in ``tasks``, which are threads
    while the loop runs.
    """

    def __init__(
        self,
        *,
        name: str = "",
        slots: int | None = None,
        executors: Mapping[str, Executor] | None = None,
        tick_seconds: float | None = None,
        device_source: DeviceSource | None = None,
    ) -> None:
        """``name``: stable across restarts, so that a restarted worker readopts its runs; by
        default ``host:pid``, which is not."""
        self.name = name or f"{platform.node()}:{os.getpid()}"
        self.slots = settings.WORKER_SLOTS if slots is None else slots
        self.executors = offered_executors() if executors is None else executors
        self.tick_seconds = settings.WORKER_TICK_SECONDS if tick_seconds is None else tick_seconds
        self.device_source = devices.device_source() if device_source is None else device_source
        self.stopping = threading.Event()
        self.tasks: Tasks = InlineTasks()
        self._pauses = Pauses()  # of runs that could not be advanced
        # (run, attempt) -> monotonic seconds. By attempt: a run that was stopped because it had
        # stalled begins another.
        self._stop_sent_at: dict[tuple[str, int], float] = {}
        self._readopted: set[str] = set()  # runs of an earlier process, not polled since
        self._next_tidy = 0.0
        self._next_check = 0.0  # of the rules of webhooks
        self._accountant = Accountant()
        self._sweep_driver = SweepDriver()
        self._rule_driver = RuleDriver()
        self._retention_driver = RetentionDriver()
        self._replaced = threading.Event()
        # While it lasts, nothing can be decided; the trainings go on and write to their files.
        self._outage = Outage(
            logger,
            f"worker {self.name} waits for the database",
            f"worker {self.name} has the database",
        )
        lease_seconds = settings.WORKER_LEASE_SECONDS
        self._database_pauses = Pauses(longest_seconds=lease_seconds / 4)
        self._next_reap = 0.0  # monotonic seconds

    # --- lifecycle ---------------------------------------------------------------------------

    def run(self, *, stop_work: bool = False, stop_seconds: float = 4.0) -> None:
        """Work until ``stopping`` is set, then leave gracefully; wait for a database that is away,
        full or read-only, however long that takes. Raises Replaced.

        ``stop_work``: also stop the processes, each with a checkpoint, within ``stop_seconds``;
        otherwise they keep running and the worker's next start readopts them.
        """
        self._register_in_time()
        if self.stopping.is_set():
            return
        self.tasks = tasks = ThreadedTasks()
        heartbeat = threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True)
        heartbeat.start()
        sampling = threading.Thread(target=self._sample_host, name="host metrics", daemon=True)
        if settings.HOST_METRICS_SECONDS > 0:
            sampling.start()
        try:
            while not self.stopping.is_set():
                started = time.monotonic()
                with self._outlasting():
                    self.tick()
                    tasks.raise_error()
                seconds = self.tick_seconds - (time.monotonic() - started)
                self.stopping.wait(max(seconds, self._database_pauses.seconds_left(DATABASE)))
            if not self._replaced.is_set():
                with self._outlasting():
                    self.leave(stop_work=stop_work, stop_seconds=stop_seconds)
        finally:
            self.stopping.set()
            tasks.close()
            heartbeat.join()
            if sampling.ident is not None:
                sampling.join()
        if self._replaced.is_set():
            raise Replaced(self.name)

    def _register_in_time(self) -> None:
        """Register as soon as there is a database with every migration of this version."""
        is_registered = False
        while not (is_registered or self.stopping.is_set()):
            with self._outlasting(is_starting=True):
                if not has_every_migration():
                    raise Outdated("not all migrations are applied")
                self.register()
                is_registered = True
            self.stopping.wait(self._database_pauses.seconds_left(DATABASE))

    @contextmanager
    def _outlasting(self, *, is_starting: bool = False) -> Iterator[None]:
        """Survive the errors of a database that does not serve, and begin the next pause."""
        try:
            close_old_connections()
            yield
        except Exception as error:
            problem = problem_of(error)
            if problem is None and not isinstance(error, Outdated):
                raise
            self._database_pauses.failed(DATABASE, str(error))
            self._outage.failed(error)
        else:
            self._database_pauses.succeeded(DATABASE)
            seconds = self._outage.over()
            if seconds:  # let the other workers renew their leases
                self._next_reap = time.monotonic() + settings.WORKER_LEASE_SECONDS / 2
            if seconds > NOTED_OUTAGE_SECONDS and not is_starting:
                self.tasks.start("note the outage", partial(self._note_outage, seconds))

    def _note_outage(self, seconds: float) -> None:
        """Renew the lease, and tell the readers of each run."""
        self.heartbeat()
        reason = Message(
            "For %(seconds)d s its worker could not use the database. What the run has written "
            "meanwhile is stored now.",
            seconds=seconds,
        )
        for run in self.held_runs():
            with self._ignoring_lost_lease(run), transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.begin(locked, EventKind.FAULT, reason, worker=self.worker)

    def tick(self) -> None:
        """One pass. If advancing a run fails, the error is logged and the next pass retries it."""
        self.tasks.start("tidy", self._tidy)
        self.tasks.start("index", self._index_runs)
        self.tasks.start("account", self._account_runs)
        self.tasks.start("sweeps", self._advance_sweeps)
        self.tasks.start("evaluation rules", self._follow_rules)
        self.tasks.start("checkpoint policies", self._apply_policies)
        self.tasks.start("program checks", self._answer_checks)
        self.tasks.start("rules", self._check_rules)
        for number in range(SENDERS):
            self.tasks.start(f"notices {number}", self._send_notices)
        for number in range(CHECKERS):
            self.tasks.start(f"direct uploads {number}", self._check_direct_uploads)
        self.reap()
        for run in self.held_runs():
            self._start_advancing(run)
        self.tasks.wait(min(QUICK_SECONDS, self.tick_seconds))
        with self._surviving("claiming runs"):
            for run in self.claim():
                self._start_advancing(run)

    def _start_advancing(self, run: Run) -> None:
        is_paused = self._pauses.is_paused(run.pk)
        is_begun = not is_paused and self.tasks.start(run.pk, partial(self.advance, run))
        if is_begun and not self._outage.is_on:
            return
        # The run's pass fails or is not done: for one, it copies a checkpoint. Its stop does not
        # wait.
        if run.stop_requested_at is not None:
            self._start_ending(run, self._request_stop)

    def _start_ending(self, run: Run, end: Callable[[Run], None]) -> None:
        """Call ``end``, which stops or kills the run's work, next to what else is done for it."""
        key = f"stop {run.pk}"

        def work() -> None:
            with self._isolating_errors(run, key):
                end(run)
                self._pauses.succeeded(key)

        self.tasks.start(key, work, urgent=True)

    # --- registration and heartbeat ----------------------------------------------------------

    def register(self) -> None:
        """Add or update this worker's row; readopt the runs of an earlier process of this name."""
        names = devices.known_devices(self.device_source)
        with transaction.atomic():
            Worker.objects.filter(
                stopped_at__lt=timezone.now() - KEEP_STOPPED_WORKERS, runs=None
            ).delete()
            row = {
                "host": platform.node(),
                "pid": os.getpid(),
                "executors": sorted(self.executors),
                "slots": self.slots,
                "devices": names,
                "device_uuids": devices.uuids_of(names or [], self.device_source),
                "device_models": devices.models_of(names or [], self.device_source),
                "started_at": Now(),
                "last_heartbeat": Now(),
                "stopped_at": None,
            }
            self.worker, created = Worker.objects.update_or_create(
                name=self.name,
                defaults={**row, "incarnation": F("incarnation") + 1},
                create_defaults=row,
            )
            self.worker.refresh_from_db()
        logger.info("worker %s is ready, %d slots", self.name, self.slots)
        if names is not None:
            logger.info("its host has the GPUs %s", ", ".join(names) or "–")
        if not created:
            self._readopt()

    def _readopt(self) -> None:
        """Keep the runs that this name held before. Their processes may still run, but work in the
        database died with the earlier worker process."""
        for run in self.held_runs():
            if run.pk in self._readopted:
                continue  # before the database went away while this registered
            # A run that is cancelled before it is locked keeps no worker from starting.
            with self._ignoring_lost_lease(run), transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                if self._executor(run).in_database:
                    reason = Message("Its worker %(name)s died.", name=self.name)
                    actions.reap(locked, reason, by=self.worker)
                    continue
                locked.note(EventKind.READOPTED, worker=self.worker)
                if not self._executor(run).has_queue:  # a cluster's work does not end with it
                    self._readopted.add(run.pk)

    def _send_heartbeats(self) -> None:
        """Runs in its own thread, so that the lease does not expire during a long upload."""
        while not self.stopping.wait(settings.WORKER_LEASE_SECONDS / 4):
            try:
                self.heartbeat()
            except Exception as error:  # keep trying: the loop itself waits
                self._note_failure("heartbeat failed", error)
                close_old_connections()
        connection.close()

    def heartbeat(self) -> None:
        """Renew the lease; stop if another process has taken the name over."""
        mine = Worker.objects.filter(pk=self.worker.pk, incarnation=self.worker.incarnation)
        if not mine.update(last_heartbeat=Now()):
            self._replaced.set()
            self.stopping.set()

    def _note_failure(self, text: str, error: Exception) -> None:
        """Log an error of a thread that goes on; the loop says it if the database is away."""
        problem = problem_of(error)
        if problem is None:
            logger.warning("%s", text, exc_info=True)
        elif self._outage.is_on:
            self._outage.failed(error)
        else:
            logger.warning("%s: %s", text, problem.code)

    def _sample_host(self) -> None:
        """Runs in its own thread, so that samples come at equal intervals."""
        sampler = Sampler(self.device_source)
        while not self.stopping.wait(settings.HOST_METRICS_SECONDS):
            try:
                self.sample_host(sampler)
            except Exception as error:  # of a driver, for one: the trainings go on
                self._note_failure("the host's metrics could not be recorded", error)
                close_old_connections()
        connection.close()

    def sample_host(self, sampler: Sampler) -> None:
        """Record how the host is doing, for each process that this worker runs on it."""
        runs = [run for run in self.held_runs() if self._is_on_this_host(run)]
        sampler.sample(self.worker, runs)

    def leave(self, *, stop_work: bool, stop_seconds: float) -> None:
        """Release in-database runs, stop the processes or leave them running, and sign off."""
        if not stop_work:
            self.tasks.wait(stop_seconds)
        processes = []
        for run in self.held_runs():
            if self._is_on_this_host(run):
                processes.append(run)
            # A cluster's work goes on; where it holds GPUs of a pool, it keeps them.
            elif self._executor(run).in_database or (stop_work and self._executor(run).schedules):
                with self._isolating_errors(run):
                    run.release(self.worker, next_attempt=False)
        if stop_work:
            self._stop_all(processes, stop_seconds)
        Worker.objects.filter(pk=self.worker.pk, incarnation=self.worker.incarnation).update(
            stopped_at=Now(), last_heartbeat=Now()
        )
        logger.info("worker %s left", self.name)

    def _stop_all(self, runs: Sequence[Run], seconds: float) -> None:
        """Ask every process to save and exit, ingest what they wrote, kill those that are late."""
        deadline = time.monotonic() + seconds
        over: set[str] = set()
        while len(over) < len(runs) and time.monotonic() < deadline + KILL_SECONDS:
            late = time.monotonic() > deadline
            for run in runs:
                if run.pk not in over:
                    self._start_winding_down(run, over, late=late)
            self.tasks.wait(WIND_DOWN_POLL_SECONDS)
            self.tasks.raise_error()
            time.sleep(WIND_DOWN_POLL_SECONDS)

    def _start_winding_down(self, run: Run, over: set[str], *, late: bool) -> None:
        winding_down = partial(self._wind_down, run, over, late=late)
        is_paused = self._pauses.is_paused(run.pk)
        if is_paused or not self.tasks.start(run.pk, winding_down):
            self._start_ending(run, partial(self._end, late=late))

    def _end(self, run: Run, *, late: bool) -> None:
        executor = self._executor(run)
        (executor.kill if late else executor.stop)(run, self.worker)

    def _wind_down(self, run: Run, over: set[str], *, late: bool) -> None:
        """Poll a process that is to end; once it has, release its run. Add runs that are no longer
        this worker's to ``over``."""
        with self._isolating_errors(run):
            try:
                is_over = self._release_ended(run, late=late)
            except LeaseLost:
                over.add(run.pk)
                raise
            self._pauses.succeeded(run.pk)
            if is_over:
                over.add(run.pk)

    def _release_ended(self, run: Run, *, late: bool) -> bool:
        executor = self._executor(run)
        try:
            work = executor.poll(run, self.worker)
        except Exception:
            self._end(run, late=late)  # all the same
            raise
        if work.state is WorkState.WORKING:
            self._end(run, late=late)
        if work.state in {WorkState.WORKING, WorkState.STORING}:
            return False
        if (
            work.state in {WorkState.FINISHED, WorkState.FAILED}
            or run.stop_requested_at is not None
        ):
            actions.settle(run, work, worker=self.worker)
        else:
            run.release(self.worker, next_attempt=work.state is not WorkState.ABSENT)
        return True

    # --- one pass ----------------------------------------------------------------------------

    def held_runs(self) -> list[Run]:
        return list(
            Run.objects.held_by(self.worker)
            .select_related("recipe", "project", "worker")
            .order_by("started_at", "id")
        )

    def claim(self) -> list[Run]:
        """Claim runs into free slots, and others into the queues of clusters."""
        held = Run.objects.held_by(self.worker)
        claimed = []
        for names, slots in self._slots().items():
            free = slots - held.filter(recipe__executor__in=names).count()
            claimed += claim(self.worker, free, executors=names) if free > 0 else []
        for run in claimed:
            logger.info("claimed run %s (attempt %d)", run.pk, run.attempt)
        return claimed

    def _slots(self) -> dict[tuple[str, ...], int]:
        """Executors, and how many runs of them this worker may hold."""
        by_kind: dict[tuple[bool, bool], list[str]] = defaultdict(list)
        for name, executor in self.executors.items():
            by_kind[executor.has_queue, executor.schedules].append(name)
        slots = {False: self.slots, True: settings.CLUSTER_JOBS}
        return {tuple(names): slots[has_queue] for (has_queue, _), names in by_kind.items()}

    def reap(self) -> None:
        """Recover the runs of workers whose lease has expired, unless these have just had no
        database to renew it."""
        if self._outage.is_on or time.monotonic() < self._next_reap:
            return
        lost = Run.objects.lost().exclude(worker=self.worker)
        for pk in lost.filter(recipe__executor__in=self.executors).values_list("pk", flat=True):
            with self._surviving(f"recovering the run {pk}"):
                self._reap(pk)

    def _reap(self, pk: str) -> None:
        with transaction.atomic():
            # Query again with the row locked: another worker may have reaped the run.
            run = (
                Run.objects.lost()
                .filter(pk=pk)
                .select_for_update(skip_locked=True, no_key=True, of=("self",))
                .select_related("recipe", "project", "worker")
                .first()
            )
            if run is not None:
                reason = Message("Its worker %(name)s died.", name=run.worker)
                logger.warning("run %s is lost: %s", pk, reason)
                actions.reap(run, reason, by=self.worker)

    def _tidy(self) -> None:
        if time.monotonic() >= self._next_tidy:
            self._next_tidy = time.monotonic() + TIDY_SECONDS
            for name, executor in self.executors.items():
                with self._surviving(f"tidying ({name})"):
                    executor.tidy()
            with self._surviving("looking for lost runs"):
                unmanaged.update_lost_runs()
            with self._surviving("looking for GPUs"):
                discover_pools(self.executors)
            with self._surviving("pruning the audit"):
                retention.prune()
            with self._surviving("pruning deliveries"):
                sending.prune()
            with self._surviving("sweeping direct uploads"):
                DirectUpload.objects.sweep()

    def _index_runs(self) -> None:
        if not self._pauses.is_paused(INDEXING):
            with self._surviving(INDEXING):
                index_runs()

    def _account_runs(self) -> None:
        if not self._pauses.is_paused(ACCOUNTING):
            with self._surviving(ACCOUNTING):
                self._accountant.work()

    def _advance_sweeps(self) -> None:
        if not self._pauses.is_paused(SWEEPING):
            with self._surviving(SWEEPING):
                self._sweep_driver.work()

    def _follow_rules(self) -> None:
        if not self._pauses.is_paused(EVALUATING):
            with self._surviving(EVALUATING):
                self._rule_driver.work()

    def _apply_policies(self) -> None:
        if not self._pauses.is_paused(RETAINING):
            with self._surviving(RETAINING):
                self._retention_driver.work()

    def _answer_checks(self) -> None:
        with self._surviving("answering program checks"):
            answer_checks(self.worker)

    def _check_rules(self) -> None:
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + RULES_SECONDS
            with self._surviving("checking the rules of webhooks"):
                check_rules()

    def _send_notices(self) -> None:
        with self._surviving("sending notices"):
            sending.send_due()

    def _check_direct_uploads(self) -> None:
        with self._surviving("checking direct uploads"):
            check_due()

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Log an error of ``what``, once each: a later pass tries again."""
        try:
            yield
        except Exception as error:
            if outage_of(error) is not None:
                raise
            problem = problem_of(error)
            if self._pauses.failed(what, repr(problem or error)):
                logger.error("%s failed: %s", what, error, exc_info=problem is None)
        else:
            self._pauses.succeeded(what)

    def advance(self, run: Run) -> None:
        """Poll the run's work, start it if necessary, stop it if requested, settle it if ended."""
        with self._isolating_errors(run):
            self._advance(run)
            self._end_fault(run)

    @contextmanager
    def _isolating_errors(self, run: Run, key: str = "") -> Iterator[None]:
        """Log an error of one run (a full disk, unreachable storage) and note it on the run, so
        that it does not stop the others; a later pass retries it. A database that is away makes
        the loop wait. ``key``: what is paused for a while, by default the run."""
        about = log_context(run=run.pk, attempt=str(run.attempt), worker=self.name)
        with about, self._ignoring_lost_lease(run):
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
                    self._note_fault(run, key or run.pk, error)

    def _postpone(self, run: Run, key: str, error: Exception) -> None:
        """Begin a pause of ``key``, which something else has locked: not even that can be noted."""
        if self._pauses.failed(key, type(problem_of(error)).__name__):
            logger.warning("run %s waits: %s", run.pk, error)

    @contextmanager
    def _ignoring_lost_lease(self, run: Run) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            logger.info("run %s is no longer this worker's", run.pk)

    def _note_fault(self, run: Run, key: str, error: Exception) -> None:
        """Begin the next pause of ``key``, and tell the log and the run's readers why."""
        is_known = isinstance(error, DomainError)  # e.g. a full disk
        why = words_of(error) if is_known else storable(f"{type(error).__name__}: {error}")
        reason = Message("Its worker met an error and tries again: %(why)s", why=why)
        is_new = self._pauses.failed(key, reason)
        if is_new or key == run.pk:  # a stop is tried at every pass
            level = logging.WARNING if is_known else logging.ERROR
            text = "run %s could not be advanced: %s"
            logger.log(level, text, run.pk, why, exc_info=not is_known)
        if is_new:
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.begin(locked, EventKind.FAULT, reason, worker=self.worker)

    def _end_fault(self, run: Run) -> None:
        """Of this worker, or of an earlier one, which is known by the run's reason."""
        failed = self._pauses.succeeded(run.pk) is not None
        waits = run.status == RunStatus.QUEUED  # its reason is its cluster's
        if failed or (run.status_reason and not waits):
            with suppress(LeaseLost), transaction.atomic():  # it may have ended
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.end(locked, EventKind.FAULT, worker=self.worker)

    def _advance(self, run: Run) -> None:
        executor = self._executor(run)
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
            self._request_stop(run)

    def _follow_cluster(self, run: Run, executor: Executor, work: WorkStatus) -> WorkStatus:
        """Let the run wait, or run, as its cluster does; end a run that only waits at once."""
        if work.state is WorkState.WAITING and run.stop_requested_at is not None:
            executor.kill(run, self.worker)
            work = executor.poll(run, self.worker)
        if work.state is WorkState.WAITING:
            if _waits_otherwise(run, work):
                run.wait_in_cluster(self.worker, reason=work.reason, starts_at=work.starts_at)
        elif work.state in HAS_BEGUN and (run.status == RunStatus.QUEUED or run.held_since is None):
            run.start_in_cluster(self.worker)
            logger.info("run %s was started by its cluster", run.pk)
        return work

    def _settle(self, run: Run, work: WorkStatus) -> None:
        """Settle a run whose work has ended; if it went with this worker's earlier process, that
        uses up no restart."""
        if run.pk in self._readopted and _fell_with_worker(work):
            reason = Message("Its worker %(name)s died.", name=self.name)
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

    def _request_stop(self, run: Run) -> None:
        """Ask the work to stop; kill it after the grace period. This starts when the work is first
        asked, not when the user requested the stop: no worker may have been running then."""
        now = time.monotonic()
        sent_at = self._stop_sent_at.setdefault((run.pk, run.attempt), now)
        assert run.recipe is not None  # otherwise no worker would hold it
        executor = self._executor(run)
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

    def _is_on_this_host(self, run: Run) -> bool:
        executor = self._executor(run)
        return not (executor.in_database or executor.has_queue)

    def _executor(self, run: Run) -> Executor:
        assert run.recipe is not None
        return self.executors[run.recipe.executor]


def offered_executors() -> dict[str, Executor]:
    """Those of the setting EXECUTORS_OFFERED, by default all that work on this host."""
    names = settings.EXECUTORS_OFFERED
    return {
        name: executor
        for name, executor in executors_by_name().items()
        if (name in names if names else executor.works_here())
    }


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
