"""Stopping the processes of a worker that leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from execution.faults import Faults
from execution.run_driving import RunDriver
from execution.tasks import Tasks
from runs import actions, attempts
from runs.executors import WorkState
from runs.models import LeaseLost, Run

POLL_SECONDS: Final = 0.05
KILL_SECONDS: Final = 2.0  # how long to wait for killed processes


class WindDown:
    def __init__(self, driver: RunDriver, faults: Faults, tasks: Tasks) -> None:
        self._worker = driver.worker
        self._driver = driver
        self._faults = faults
        self._tasks = tasks

    def stop_all(self, runs: Sequence[Run], seconds: float) -> None:
        """Ask every process to save and exit, ingest what they wrote, kill those that are late."""
        deadline = time.monotonic() + seconds
        over: set[str] = set()
        while len(over) < len(runs) and time.monotonic() < deadline + KILL_SECONDS:
            late = time.monotonic() > deadline
            for run in runs:
                if run.pk not in over:
                    self._start(run, over, late=late)
            self._tasks.wait(POLL_SECONDS)
            self._tasks.raise_error()
            time.sleep(POLL_SECONDS)

    def _start(self, run: Run, over: set[str], *, late: bool) -> None:
        winding_down = partial(self._wind_down, run, over, late=late)
        is_paused = self._faults.pauses.is_paused(run.pk)
        if is_paused or not self._tasks.start(run.pk, winding_down):
            self._driver.start_ending(self._tasks, run, partial(self._end, late=late))

    def _end(self, run: Run, *, late: bool) -> None:
        executor = self._driver.executor_of(run)
        (executor.kill if late else executor.stop)(run, self._worker)

    def _wind_down(self, run: Run, over: set[str], *, late: bool) -> None:
        """Poll a process that is to end; once it has, release its run. Add runs that are no longer
        this worker's to ``over``."""
        with self._faults.isolating(run):
            try:
                is_over = self._release_ended(run, late=late)
            except LeaseLost:
                over.add(run.pk)
                raise
            self._faults.pauses.succeeded(run.pk)
            if is_over:
                over.add(run.pk)

    def _release_ended(self, run: Run, *, late: bool) -> bool:
        executor = self._driver.executor_of(run)
        try:
            work = executor.poll(run, self._worker)
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
            actions.settle(run, work, worker=self._worker)
        else:
            attempts.release(run, self._worker, next_attempt=work.state is not WorkState.ABSENT)
        return True
