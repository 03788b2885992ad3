"""A script started elsewhere, which reports by itself: nothing of it is ours to start or end."""

from __future__ import annotations

from typing import Any

from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.models import Run, Worker


class ExternalExecutor(Executor):
    """No worker claims such a run: all that TrainHub has of it is rows, so whoever holds their lock
    can end it. The script learns of that when it asks."""

    in_database = True

    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return None

    def start(self, run: Run, worker: Worker) -> None:
        raise CannotStart("The run is carried out elsewhere.")

    def poll(self, run: Run, worker: Worker) -> Observation:
        return Observation(Work.WORKING)

    def stop(self, run: Run, worker: Worker) -> None:
        return

    def kill(self, run: Run, worker: Worker) -> None:
        return
