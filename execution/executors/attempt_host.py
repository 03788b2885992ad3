"""Where the launchers of an attempt run: on this host, or in a cluster.

An executor differs from another by this alone; what the launchers write is the same everywhere, in
the attempt's directory.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import psutil

from core.messages import Text
from execution.executors.attempt import Attempt, Ending

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Waiting:
    """A cluster has the attempt in its queue; ``starts_at``: its estimate, if it has one."""

    reason: Text
    starts_at: datetime | None = None


State: TypeAlias = Ending | Waiting | None  # None: it works


class AttemptHost(ABC):
    """The launchers of one attempt, whose directory has been created. Keeps no state in memory;
    every call is idempotent."""

    attempt: Attempt

    @abstractmethod
    def launch(self) -> None:
        """Start the launchers, unless they are at work or have been. Raises CannotStart if that
        would fail again and again, otherwise OSError or a DomainError."""

    @abstractmethod
    def state(self) -> State:
        """Raises a DomainError if it cannot be told for now."""

    @abstractmethod
    def ask(self) -> None:
        """Ask the training to save and stop."""

    @abstractmethod
    def kill(self) -> bool:
        """End everything of the attempt; False if something cannot be ended yet."""

    def ending_at_kill(self) -> Ending:
        """How it ends if something of it cannot be ended yet."""
        return self.attempt.ending_at_kill()

    def end_leftovers(self) -> None:  # noqa: B027  optional
        """End what is left of an attempt that has ended."""

    def processes(self) -> list[psutil.Process]:
        """Those that this host can look into."""
        return []


@dataclass(frozen=True)
class LocalHost(AttemptHost):
    """This host."""

    attempt: Attempt

    def launch(self) -> None:
        self.attempt.launch()

    def state(self) -> State:
        return self.attempt.ending()

    def ask(self) -> None:
        self.attempt.terminate()

    def kill(self) -> bool:
        return self.attempt.kill()

    def end_leftovers(self) -> None:
        self.attempt.kill_leftovers()

    def processes(self) -> list[psutil.Process]:
        return self.attempt.tree()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for ``condition``, for at most so long; whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
