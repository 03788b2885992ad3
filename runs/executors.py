"""The contract between a run and the executor that carries it out.

An executor owns the truth about the work of a run: it asks the outside world (rows, processes, a
cluster), never its own memory, so that a restarted worker readopts what still runs. A worker calls
it with runs it holds. Every call is idempotent.

- ``poll`` ingests whatever the work has reported since the last poll (each piece in one
  transaction with the note that it has been read) and returns how the work stands. ABSENT means
  that the run's current attempt was never started.
- ``start`` begins the current attempt: from the latest checkpoint that verifies, or from scratch.
  It first ends what earlier attempts still run on this host, ingests what they left, and deletes
  the points after the checkpoint. Raises CannotStart with a reason for people.
- ``stop`` asks the work to save a checkpoint and end, and returns at once; ``poll`` tells when it
  has. If the attempt was never started, there is nothing to ask, but earlier attempts are ended
  and ingested as in ``start``. The worker keeps the deadline and calls ``kill`` after it.
- ``kill`` ends the work now, with whatever it has saved; ``poll`` then returns STOPPED or DIED.
- ``latest_checkpoint`` is the newest of the run's own checkpoints whose stored bytes are sound.
- ``keep_checkpoint`` marks the checkpoint that a cancelled run keeps, once the work has ended.
- ``forget`` frees what this host holds for a run that is over.
- ``tidy`` does the same for runs that ended or moved on while nobody on this host was looking.

Calls that write raise LeaseLost when the run is no longer the worker's: ended, or taken over. All
executors pass one test suite (tests/execution/executors/contract.py).

Executors live above this app: settings.EXECUTORS names their classes.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from django.conf import settings
from django.utils.module_loading import import_string

from runs.checkpoint import Checkpoint
from runs.models import ExecutorName, Run, Worker

UNMANAGED: Final = "unmanaged"  # the key in settings.EXECUTORS for runs without a recipe


class CannotStart(Exception):
    """The work cannot begin, and would not the next time either."""


class WorkState(enum.Enum):
    ABSENT = enum.auto()  # the current attempt was never started
    WORKING = enum.auto()
    FINISHED = enum.auto()  # it reached its end
    STOPPED = enum.auto()  # it ended because it was asked to
    FAILED = enum.auto()  # it gave up and said so: a retry would end the same way
    DIED = enum.auto()  # killed or vanished: it can resume from its checkpoint


@dataclass(frozen=True)
class WorkStatus:
    state: WorkState
    reason: str = ""
    exit_code: int | None = None


class Executor(ABC):
    # Whether the work is rows in the database: then whoever holds the row's lock can end it, and
    # it dies with its worker.
    in_database: ClassVar[bool] = False

    @abstractmethod
    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        """How many steps a run of these hyperparameters has; None if only the work knows."""

    @abstractmethod
    def start(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def poll(self, run: Run, worker: Worker) -> WorkStatus: ...

    @abstractmethod
    def stop(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def kill(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def latest_checkpoint(self, run: Run) -> Checkpoint | None:
        """Reads the stored bytes, perhaps gigabytes: do not call it with a row locked."""

    @abstractmethod
    def keep_checkpoint(self, run: Run, latest: Checkpoint | None) -> Checkpoint | None:
        """Call with the run's row locked. ``latest``: what ``latest_checkpoint`` returned before.

        Returns the checkpoint that is kept; None if there is none.
        """

    def forget(self, run: Run) -> None:  # noqa: B027  most executors keep nothing
        """Nothing to free, unless the executor keeps something."""

    def tidy(self) -> None:  # noqa: B027
        """Nothing to free either."""


@cache
def executors() -> Mapping[str, Executor]:
    """Every executor that recipes may name, by that name."""
    return MappingProxyType(
        {name.value: import_string(settings.EXECUTORS[name.value])() for name in ExecutorName}
    )


@cache
def _unmanaged() -> Executor:
    executor: Executor = import_string(settings.EXECUTORS[UNMANAGED])()
    return executor


def executor_of(run: Run) -> Executor:
    return _unmanaged() if run.recipe is None else executors()[run.recipe.executor]
