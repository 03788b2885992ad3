"""The loop that carries runs through their lives. It knows no SQL and no executor's inside."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from runs import actions, external
from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.executors.registry import EXECUTORS
from runs.models import EventKind, Run, Worker
from runs.models.run import LeaseLost
from runs.scheduling import claim
from trainhub.log_context import log_context

logger = logging.getLogger(__name__)

KEEP_STOPPED_WORKERS = timedelta(days=7)
TIDY_SECONDS = 30.0
WIND_DOWN_POLL_SECONDS = 0.05
KILL_SECONDS = 2.0  # what was killed may take so long to be gone before we go without it


class Replaced(Exception):
    """Another process has registered under this worker's name: it is the worker now."""


class WorkerLoop:
    """One worker: heartbeat, reap, advance its runs, claim into free seats; again and again."""

    def __init__(
        self,
        *,
        name: str = "",
        seats: int | None = None,
        executors: dict[str, Executor] | None = None,
        tick_seconds: float | None = None,
    ) -> None:
        """``name``: stable across restarts, so that a restarted worker takes up its own runs;
        by default one of its own, ``host:pid``."""
        self.name = name or f"{platform.node()}:{os.getpid()}"
        self.seats = settings.WORKER_SEATS if seats is None else seats
        self.executors = EXECUTORS if executors is None else executors
        self.tick_seconds = settings.WORKER_TICK_SECONDS if tick_seconds is None else tick_seconds
        self.stop = threading.Event()
        self._stopping_since: dict[str, float] = {}  # run -> monotonic seconds
        self._next_tidy = 0.0
        self._replaced = threading.Event()

    # --- the life of the loop ----------------------------------------------------------------

    def run(self, *, stop_work: bool = False, stop_seconds: float = 4.0) -> None:
        """Work until ``stop`` is set, then leave in order. Raises Replaced.

        ``stop_work``: end the processes too, each with a checkpoint, within ``stop_seconds``;
        otherwise they go on and are taken up again by the worker's next start.
        """
        self.register()
        beat = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        beat.start()
        try:
            while not self.stop.is_set():
                started = time.monotonic()
                close_old_connections()
                self.tick()
                self.stop.wait(max(0.0, self.tick_seconds - (time.monotonic() - started)))
            if not self._replaced.is_set():
                self.leave(stop_work=stop_work, stop_seconds=stop_seconds)
        finally:
            self.stop.set()
            beat.join()
        if self._replaced.is_set():
            raise Replaced(self.name)

    def tick(self) -> None:
        """One pass. A run that fails in our hands is logged and left for the next pass."""
        self._tidy()
        self.reap()
        for run in self.my_runs():
            self.attend(run)
        for run in self.claim():
            self.attend(run)

    # --- registration and heartbeat ----------------------------------------------------------

    def register(self) -> None:
        """Appear in the table of workers; take up the runs of an earlier process of this name."""
        with transaction.atomic():
            Worker.objects.filter(
                stopped_at__lt=timezone.now() - KEEP_STOPPED_WORKERS, runs=None
            ).delete()
            row = {
                "host": platform.node(),
                "pid": os.getpid(),
                "executors": sorted(self.executors),
                "seats": self.seats,
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
        logger.info("worker %s is ready, %d seats", self.name, self.seats)
        if not created:
            self._take_up()

    def _take_up(self) -> None:
        """What this name held before: processes may still run; what lived in the old worker died
        with it."""
        for run in self.my_runs():
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, run.pk)
                if self._executor(run).in_database:
                    reason = _("Its worker %(name)s died.") % {"name": self.name}
                    actions.reap(locked, reason, by=self.worker)
                else:
                    locked.note(EventKind.READOPTED, worker=self.worker)

    def _keep_beating(self) -> None:
        """In a thread of its own: a long upload must not look like death."""
        while not self.stop.wait(settings.WORKER_LEASE_SECONDS / 4):
            try:
                mine = Worker.objects.filter(
                    pk=self.worker.pk, incarnation=self.worker.incarnation
                ).update(last_heartbeat=Now())
            except DatabaseError:
                # The loop itself meets the same error and says so; a missed beat is what it is.
                logger.warning("heartbeat failed", exc_info=True)
                close_old_connections()
                continue
            if not mine:
                self._replaced.set()
                self.stop.set()
        connection.close()

    def leave(self, *, stop_work: bool, stop_seconds: float) -> None:
        """Release the runs for others, end or leave the processes, sign off."""
        processes = []
        for run in self.my_runs():
            if not self._executor(run).in_database:
                processes.append(run)
                continue
            with self._trouble_of(run):
                run.release(self.worker, next_attempt=False)
        if stop_work:
            self._stop_all(processes, stop_seconds)
        Worker.objects.filter(pk=self.worker.pk, incarnation=self.worker.incarnation).update(
            stopped_at=Now(), last_heartbeat=Now()
        )
        logger.info("worker %s left", self.name)

    def _stop_all(self, runs: Sequence[Run], seconds: float) -> None:
        """Ask every process to save and end; take in what they left; kill what is too slow."""
        deadline = time.monotonic() + seconds
        waiting = list(runs)
        while waiting and time.monotonic() < deadline + KILL_SECONDS:
            late = time.monotonic() > deadline
            waiting = [run for run in waiting if not self._wind_down(run, late=late)]
            if waiting:
                time.sleep(WIND_DOWN_POLL_SECONDS)

    def _wind_down(self, run: Run, *, late: bool) -> bool:
        """One look at a process that is to end; True once it has, and its run is given back."""
        with self._trouble_of(run):
            executor = self._executor(run)
            observation = executor.poll(run, self.worker)
            if observation.work is Work.WORKING:
                (executor.kill if late else executor.stop)(run, self.worker)
                return False
            if (
                observation.work in {Work.FINISHED, Work.FAILED}
                or run.stop_requested_at is not None
            ):
                actions.settle(run, observation, worker=self.worker)
            else:
                run.release(self.worker, next_attempt=observation.work is not Work.ABSENT)
        return True

    # --- one pass ----------------------------------------------------------------------------

    def my_runs(self) -> list[Run]:
        return list(
            Run.objects.held_by(self.worker)
            .select_related("recipe", "project", "resumed_from", "worker")
            .order_by("started_at", "id")
        )

    def claim(self) -> list[Run]:
        free = self.seats - Run.objects.held_by(self.worker).count()
        claimed = claim(self.worker, free) if free > 0 else []
        for run in claimed:
            logger.info("claimed run %s (attempt %d)", run.pk, run.attempt)
        return claimed

    def reap(self) -> None:
        """Let the runs of workers whose lease has run out go on."""
        lost = Run.objects.lost().exclude(worker=self.worker)
        for pk in lost.filter(recipe__executor__in=self.executors).values_list("pk", flat=True):
            with transaction.atomic():
                # Asked again with the row locked: another worker may have been quicker.
                run = (
                    Run.objects.lost()
                    .filter(pk=pk)
                    .select_for_update(skip_locked=True, no_key=True, of=("self",))
                    .select_related("recipe", "project", "worker")
                    .first()
                )
                if run is not None:
                    reason = _("Its worker %(name)s died.") % {"name": run.worker}
                    logger.warning("run %s is lost: %s", pk, reason)
                    actions.reap(run, reason, by=self.worker)

    def _tidy(self) -> None:
        if time.monotonic() >= self._next_tidy:
            self._next_tidy = time.monotonic() + TIDY_SECONDS
            for executor in self.executors.values():
                executor.tidy()
            external.watch()

    def attend(self, run: Run) -> None:
        """Carry one run one step further."""
        with self._trouble_of(run):
            self._attend(run)

    @contextmanager
    def _trouble_of(self, run: Run) -> Iterator[None]:
        """One run in trouble (a full disk, a storage that is away) must not stop the others: it is
        tried again at the next pass. A database that is away is the loop's own trouble."""
        with log_context(run=run.pk, worker=self.name):
            try:
                yield
            except LeaseLost:
                logger.info("run %s is no longer this worker's", run.pk)
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                logger.exception("run %s could not be advanced", run.pk)

    def _attend(self, run: Run) -> None:
        executor = self._executor(run)
        observation = self._started(run, executor)
        if observation.work is not Work.WORKING:
            self._stopping_since.pop(run.pk, None)
            actions.settle(run, observation, worker=self.worker)
        elif run.stop_requested_at is not None:
            self._press(run, executor)

    def _started(self, run: Run, executor: Executor) -> Observation:
        """How the work stands, begun if it was not."""
        observation = executor.poll(run, self.worker)
        if observation.work is not Work.ABSENT:
            return observation
        if run.stop_requested_at is not None:
            executor.stop(run, self.worker)  # takes in what earlier attempts left
            return Observation(Work.STOPPED)
        try:
            executor.start(run, self.worker)
        except CannotStart as error:
            return Observation(Work.FAILED, reason=str(error))
        return executor.poll(run, self.worker)

    def _press(self, run: Run, executor: Executor) -> None:
        """Ask the work to stop; when its grace is over, end it. The grace counts from our first
        asking: a worker that was away has not given it any yet."""
        since = self._stopping_since.setdefault(run.pk, time.monotonic())
        assert run.recipe is not None  # else no worker holds it
        if time.monotonic() - since > run.recipe.stop_grace_seconds:
            executor.kill(run, self.worker)
        else:
            executor.stop(run, self.worker)

    def _executor(self, run: Run) -> Executor:
        assert run.recipe is not None
        return self.executors[run.recipe.executor]
