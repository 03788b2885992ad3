"""The contract between a worker and what does the work.

An executor owns the truth about the work of a run: it asks the outside world (rows, processes, a
cluster), never its own memory, so that a restarted worker takes up what still runs. A worker calls
it with runs it holds; every call may be repeated, and a repeated call changes nothing more.

- ``poll`` takes in whatever the work has reported since the last poll (runs/ingestion.py, each
  piece in one transaction with the note that it has been read) and says how the work stands.
  ABSENT means that the run's present attempt was never started.
- ``start`` begins the present attempt: from the latest checkpoint that verifies, or from nothing.
  What earlier attempts still run on this host is ended first, what they left is taken in, and the
  points after the checkpoint are taken back. Raises CannotStart with a reason for people.
- ``stop`` asks the work to save a checkpoint and end, and returns at once; ``poll`` tells when it
  has. Of an attempt that was never started there is nothing to ask, but earlier ones are ended and
  taken in as ``start`` does. The worker keeps the deadline and calls ``kill`` after it.
- ``kill`` ends the work now, with whatever it has saved; ``poll`` then says STOPPED or DIED.
- ``final_checkpoint`` is the checkpoint that a cancelled run keeps, once the work has ended.
- ``forget`` frees what this host holds for a run that is over.
- ``tidy`` does the same for runs that ended or went on while nobody on this host was looking.

Calls that write raise LeaseLost when the run is no longer the worker's: ended, or taken over. All
executors pass one set of tests (tests/runs/executors/contract.py).
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from runs.models import Run, Worker

if TYPE_CHECKING:
    from artifacts.models import Artifact


class CannotStart(Exception):
    """The work cannot begin, and would not the next time either."""


class Work(enum.Enum):
    ABSENT = enum.auto()  # the present attempt was never started
    WORKING = enum.auto()
    FINISHED = enum.auto()  # it reached its end
    STOPPED = enum.auto()  # it ended because it was asked to
    FAILED = enum.auto()  # it gave up and said so: trying again would end the same way
    DIED = enum.auto()  # killed or vanished: it can go on from its checkpoint


@dataclass(frozen=True)
class Observation:
    work: Work
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
    def poll(self, run: Run, worker: Worker) -> Observation: ...

    @abstractmethod
    def stop(self, run: Run, worker: Worker) -> None: ...

    @abstractmethod
    def kill(self, run: Run, worker: Worker) -> None: ...

    def final_checkpoint(self, run: Run, verified: Artifact | None) -> Artifact | None:
        """``verified`` is the newest of the run's own checkpoints whose bytes were found sound,
        before the run's row was locked, as it is now."""
        return verified

    def forget(self, run: Run) -> None:  # noqa: B027  most executors keep nothing
        """Nothing to free, unless the executor keeps something."""

    def tidy(self) -> None:  # noqa: B027
        """Nothing to free either."""
