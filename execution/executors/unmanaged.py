"""The executor of unmanaged runs, whose work TrainHub can neither start nor end."""

from __future__ import annotations

from typing import Any

from execution.executors.checkpoint_executor import CheckpointExecutor
from runs.executors import CannotStart, WorkState, WorkStatus
from runs.models import Run, Worker


class UnmanagedExecutor(CheckpointExecutor):
    """No worker claims an unmanaged run: TrainHub has only its rows, so any caller that holds its
    row lock can end it. The script learns of this from its next request."""

    in_database = True

    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return None

    def start(self, run: Run, worker: Worker) -> None:
        raise CannotStart("An unmanaged run cannot be started.")

    def poll(self, run: Run, worker: Worker) -> WorkStatus:
        return WorkStatus(WorkState.WORKING)

    def stop(self, run: Run, worker: Worker) -> None:
        return

    def kill(self, run: Run, worker: Worker) -> None:
        return
