"""The interface between a run and the executor that runs it.

An executor keeps no state in memory: it derives the state of the work from its source (rows,
processes, a cluster), so that a restarted worker readopts running work. A worker calls it with the
runs it holds. Every call is idempotent.

- ``poll`` ingests what the work has reported since the last poll and returns the state of the work.
  Each chunk is committed together with the position it was read up to. ABSENT means that the run's
  current attempt was never started. WAITING: its cluster has it in a queue, and why.
- ``start`` starts the current attempt, from the latest sound checkpoint or from scratch. First it
  kills processes of earlier attempts on this host, ingests their output and deletes the points
  after the checkpoint. Raises CannotStart, and Postponed if the output of an earlier attempt cannot
  be stored yet.
- ``stop`` asks the work to save a checkpoint and end. It returns immediately; ``poll`` reports when
  the work has ended. The worker enforces the deadline by calling ``kill``.
- ``kill`` ends the work immediately; ``poll`` then returns STOPPED or DIED.
- ``abandon`` is called instead of ``start`` when the current attempt is not to be started: it
  cleans up after earlier attempts, as ``start`` does. Raises Postponed.
- ``diagnose`` stores as an artifact what shows why the work does not advance; it works on.
- ``latest_checkpoint`` returns the run's newest checkpoint whose stored bytes are intact.
- ``keep_checkpoint`` marks the checkpoint that a cancelled run keeps, after the work has ended.
- ``forget`` frees this host's resources of a run that has ended.
- ``tidy`` does the same for runs that ended or moved to another worker while none ran on this host.

Calls for one run come from one thread at a time, except that ``stop`` and ``kill`` may come while
another call takes its time. Calls that write raise LeaseLost if the worker no longer holds the run.
All executors pass the tests in tests/execution/executors/contract.py.

Executors are in a higher app: settings.EXECUTORS names their classes.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from django.conf import settings
from django.utils.module_loading import import_string

from core.messages import Text
from runs.checkpoint import Checkpoint
from runs.models import ExecutorName, Run, Worker

UNMANAGED: Final = "unmanaged"  # the key in settings.EXECUTORS for runs without a recipe


class CannotStart(Exception):
    """The work cannot be started, and a retry would fail too. The message is for the user."""


class Postponed(Exception):
    """It cannot be done for now, which the run's readers have been told: try again."""


class WorkState(enum.Enum):
    ABSENT = enum.auto()  # the current attempt was never started
    WAITING = enum.auto()  # in the queue of its cluster
    WORKING = enum.auto()
    STORING = enum.auto()  # ended, but not all of its files could be stored yet
    FINISHED = enum.auto()  # completed
    STOPPED = enum.auto()  # ended on request
    FAILED = enum.auto()  # ended with an error: a retry would fail too
    DIED = enum.auto()  # killed or disappeared: can resume from its checkpoint


@dataclass(frozen=True)
class FoundPool:
    """GPUs of a cluster. ``cluster``: the part of it that they are in, such as a partition."""

    gpu_type: str
    capacity: int
    cluster: str = ""


@dataclass(frozen=True)
class WorkStatus:
    state: WorkState
    reason: Text = ""
    exit_code: int | None = None
    failure_kind: str = ""  # a FailureKind, if it is known
    is_interruption: bool = False  # its cluster has ended it: no fault of the training
    starts_at: datetime | None = None  # of waiting work, as its cluster estimates it


class Executor(ABC):
    # Whether the work exists only in the database. Then any process that locks the run's row can
    # end it, and it ends when its worker dies.
    in_database: ClassVar[bool] = False
    # Whether its cluster decides when the work starts. A run that waits there is 排队中 and takes
    # no slot of its worker, and its work goes on when the worker is gone.
    has_queue: ClassVar[bool] = False
    # Whether its cluster decides in what order, and counts the GPUs: then runs go there as soon as
    # quotas allow. Otherwise a run goes there once the GPUs of its pool are free, which it holds
    # from then on.
    schedules: ClassVar[bool] = False

    @abstractmethod
    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        """The number of steps with these hyperparameters; None if only the work knows it."""

    @abstractmethod
    def start(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def poll(self, run: Run, worker: Worker) -> WorkStatus: ...

    @abstractmethod
    def stop(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def kill(self, run: Run, worker: Worker) -> None: ...

    def abandon(self, run: Run, worker: Worker) -> None:
        """By default, asks the work to stop."""
        self.stop(run, worker)

    @abstractmethod
    def latest_checkpoint(self, run: Run) -> Checkpoint | None:
        """Reads the stored bytes, possibly gigabytes: do not call with a row locked."""

    @abstractmethod
    def keep_checkpoint(self, run: Run, latest: Checkpoint | None) -> Checkpoint | None:
        """Call with the run's row locked. ``latest``: the result of ``latest_checkpoint``.

        Returns the kept checkpoint, or None.
        """

    def diagnose(self, run: Run, worker: Worker) -> None:  # noqa: B027  optional
        """Does nothing by default."""

    def works_here(self) -> bool:
        """Whether this host has what the executor needs."""
        return True

    def forget(self, run: Run) -> None:  # noqa: B027
        """Does nothing by default."""

    def pools(self) -> list[FoundPool]:
        """The GPUs of its cluster; none by default. Raises a DomainError if that is not known
        now."""
        return []

    def tidy(self) -> None:  # noqa: B027
        """Does nothing by default."""


@cache
def executors() -> Mapping[str, Executor]:
    """The executors that recipes can use, by name."""
    return MappingProxyType(
        {name.value: import_string(settings.EXECUTORS[name.value])() for name in ExecutorName}
    )


@cache
def _unmanaged() -> Executor:
    executor: Executor = import_string(settings.EXECUTORS[UNMANAGED])()
    return executor


def executor_of(run: Run) -> Executor:
    return _unmanaged() if run.recipe is None else executors()[run.recipe.executor]
