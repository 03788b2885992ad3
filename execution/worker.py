"""The worker's loop: it holds a lease, claims runs, and has them advanced at every pass."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from core.database_errors import problem_of
from core.messages import Message
from core.migration_state import has_every_migration
from core.outages import Outage
from execution import devices
from execution.chores import Chores
from execution.devices import DeviceSource
from execution.faults import Faults
from execution.host_metrics import Sampler
from execution.pauses import Pauses
from execution.run_driving import RunDriver
from execution.scheduling.claiming import claim
from execution.tasks import InlineTasks, Tasks, ThreadedTasks
from execution.winding_down import WindDown
from runs import actions, attempts, troubles
from runs.executors import Executor
from runs.executors import executors as executors_by_name
from runs.models import EventKind, Run, Worker

logger = logging.getLogger(__name__)

KEEP_STOPPED_WORKERS = timedelta(days=7)
# How long a pass waits for the work of its runs before it claims others: mostly all is done by
# then, and the slots of runs that have ended are free.
QUICK_SECONDS = 0.2
DATABASE: Final = "database"  # the key of its pauses
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
        self._readopted: set[str] = set()  # survives a registration that is repeated
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
            with self.faults.ignoring_lost_lease(run), transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                troubles.begin(locked, EventKind.FAULT, reason, worker=self.worker)

    def tick(self) -> None:
        """One pass. If advancing a run fails, the error is logged and the next pass retries it."""
        self.chores.start(self.tasks)
        self.reap()
        for run in self.held_runs():
            self._start_advancing(run)
        self.tasks.wait(min(QUICK_SECONDS, self.tick_seconds))
        with self.faults.surviving("claiming runs"):
            for run in self.claim():
                self._start_advancing(run)

    def _start_advancing(self, run: Run) -> None:
        is_paused = self.faults.pauses.is_paused(run.pk)
        is_begun = not is_paused and self.tasks.start(run.pk, partial(self.driver.advance, run))
        if is_begun and not self._outage.is_on:
            return
        # The run's pass fails or is not done: for one, it copies a checkpoint. Its stop does not
        # wait.
        if run.stop_requested_at is not None:
            self.driver.start_ending(self.tasks, run, self.driver.request_stop)

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
        self.faults = Faults(self.worker)
        self.driver = RunDriver(self.worker, self.executors, self.faults, self._readopted)
        self.chores = Chores(self.worker, self.executors, self.faults)
        logger.info("worker %s is ready, %d slots", self.name, self.slots)
        if names is not None:
            logger.info("its host has the GPUs %s", ", ".join(names) or "–")
        if not created:
            self._readopt()

    def _readopt(self) -> None:
        """Keep the runs that this name held before. Their processes may still run, but work in the
        database died with the earlier worker process."""
        for run in self.held_runs():
            # A run that is cancelled before it is locked keeps no worker from starting.
            with self.faults.ignoring_lost_lease(run):
                self.driver.readopt(run)

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
        runs = [run for run in self.held_runs() if self.driver.is_on_this_host(run)]
        sampler.sample(self.worker, runs)

    def leave(self, *, stop_work: bool, stop_seconds: float) -> None:
        """Release in-database runs, stop the processes or leave them running, and sign off."""
        if not stop_work:
            self.tasks.wait(stop_seconds)
        processes = []
        for run in self.held_runs():
            executor = self.driver.executor_of(run)
            if self.driver.is_on_this_host(run):
                processes.append(run)
            # A cluster's work goes on; where it holds GPUs of a pool, it keeps them.
            elif executor.in_database or (stop_work and executor.schedules):
                with self.faults.isolating(run):
                    attempts.release(run, self.worker, next_attempt=False)
        if stop_work:
            WindDown(self.driver, self.faults, self.tasks).stop_all(processes, stop_seconds)
        Worker.objects.filter(pk=self.worker.pk, incarnation=self.worker.incarnation).update(
            stopped_at=Now(), last_heartbeat=Now()
        )
        logger.info("worker %s left", self.name)

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
            with self.faults.surviving(f"recovering the run {pk}"):
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


def offered_executors() -> dict[str, Executor]:
    """Those of the setting EXECUTORS_OFFERED, by default all that work on this host."""
    names = settings.EXECUTORS_OFFERED
    return {
        name: executor
        for name, executor in executors_by_name().items()
        if (name in names if names else executor.works_here())
    }
