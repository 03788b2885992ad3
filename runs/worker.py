"""The loop that carries runs through their lives. It knows no SQL and no executor's inside."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import psutil
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from runs import actions
from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.executors.registry import EXECUTORS
from runs.models import EventKind, Run, Worker
from runs.models.run import LeaseLost
from runs.scheduling import claim
from trainhub.log_context import log_context

logger = logging.getLogger(__name__)

KEEP_STOPPED_WORKERS = timedelta(days=7)


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
        self._replaced = threading.Event()

    # --- the life of the loop ----------------------------------------------------------------

    def run(self, *, stop_work: bool = False, stop_seconds: float = 6.0) -> None:
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
        close_old_connections()
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
                name=self.name, defaults={**row, "incarnation": F("incarnation") + 1},
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
                    actions.reap(locked, _("Its worker %(name)s died.") % {"name": self.name})
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
        runs = self.my_runs()
        kept = [run for run in runs if not self._executor(run).in_database]
        if stop_work:
            self._stop_all(kept, stop_seconds)
            kept = []
        for run in runs:
            if run not in kept:
                try:
                    ended = not self._executor(run).in_database
                    run.release(self.worker, next_attempt=ended)
                except LeaseLost:
                    continue
        Worker.objects.filter(pk=self.worker.pk).update(stopped_at=Now(), last_heartbeat=Now())
        logger.info("worker %s left, %d processes go on", self.name, len(kept))

    def _stop_all(self, runs: Sequence[Run], seconds: float) -> None:
        """Ask every process to save and end; take in what they left; kill what is too slow."""
        deadline = time.monotonic() + seconds
        waiting = list(runs)
        for run in waiting:
            self._executor(run).stop(run, self.worker)
        while waiting:
            late = time.monotonic() > deadline
            for run in list(waiting):
                if late:
                    self._executor(run).kill(run)
                observation = self._executor(run).poll(run, self.worker)
                if observation.work is Work.FINISHED or (
                    run.stop_requested_at is not None and observation.work is not Work.WORKING
                ):
                    actions.settle(run, observation, worker=self.worker)
                if late or observation.work is not Work.WORKING:
                    waiting.remove(run)
            time.sleep(0.05 if waiting else 0.0)

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
        """Let the runs of dead workers go on: silent ones, and those whose process on this host
        is gone."""
        for worker in self._dead_workers():
            reason = _("Its worker %(name)s died.") % {"name": worker.name}
            for run in Run.objects.running().filter(worker=worker):
                with transaction.atomic():
                    locked = (
                        Run.objects.running()
                        .filter(worker=worker, worker__incarnation=worker.incarnation)
                        .select_for_update(skip_locked=True, no_key=True, of=("self",))
                        .select_related("recipe", "project", "worker")
                        .filter(pk=run.pk)
                        .first()
                    )
                    if locked is not None:
                        logger.warning("run %s: %s", run.pk, reason)
                        actions.reap(locked, reason)

    def _dead_workers(self) -> list[Worker]:
        holding = Worker.objects.exclude(pk=self.worker.pk).filter(runs__in=Run.objects.running())
        silent = list(holding.silent().distinct())
        here = holding.filter(host=platform.node(), stopped_at=None).distinct()
        gone = [worker for worker in here if not psutil.pid_exists(worker.pid)]
        return list({worker.pk: worker for worker in [*silent, *gone]}.values())

    def attend(self, run: Run) -> None:
        """Carry one run one step further."""
        with log_context(run=run.pk, worker=self.name):
            try:
                self._attend(run)
            except LeaseLost:
                logger.info("run %s is no longer this worker's", run.pk)
            except DatabaseError:
                raise  # the loop's own trouble, not the run's
            except Exception:
                # One run in trouble (a full disk, a storage that is away) must not stop the others;
                # it is tried again at the next pass.
                logger.exception("run %s could not be advanced", run.pk)

    def _attend(self, run: Run) -> None:
        executor = self._executor(run)
        observation = executor.poll(run, self.worker)
        if observation.work is Work.ABSENT:
            try:
                executor.start(run, self.worker)
            except CannotStart as error:
                failed = Observation(Work.FAILED, reason=str(error))
                actions.settle(run, failed, worker=self.worker)
        elif observation.work is not Work.WORKING:
            actions.settle(run, observation, worker=self.worker)
        elif run.stop_requested_at is not None:
            grace = timedelta(seconds=run.recipe.stop_grace_seconds)
            if timezone.now() > run.stop_requested_at + grace:
                executor.kill(run)
            else:
                executor.stop(run, self.worker)

    def _executor(self, run: Run) -> Executor:
        return self.executors[run.recipe.executor]
