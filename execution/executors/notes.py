"""The notes on how far a process's output has been ingested, in the run's ``executor_state``."""

from __future__ import annotations

from execution.executor_state import AttemptNotes, ExecutorState
from execution.executors.attempt import Attempt
from runs.models import Run


def notes_of(run: Run, attempt: Attempt) -> AttemptNotes:
    state: ExecutorState = run.executor_state
    return state.get("read", {}).get(str(attempt.number), {})


def write_notes(run: Run, attempt: Attempt, notes: AttemptNotes) -> None:
    """Call with the run's row locked."""
    read = {**run.executor_state.get("read", {}), str(attempt.number): notes}
    run.change(executor_state={**run.executor_state, "read": read})
