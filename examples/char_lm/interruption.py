"""SIGTERM and SIGINT as a request to stop that the training loop reads between two steps."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """Which signal has asked the process to stop, if any did."""

    signal_number: int | None = None

    @classmethod
    def install(cls) -> Interruption:
        """Take over SIGTERM and SIGINT for the rest of the process."""
        interruption = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interruption._note)
        return interruption

    @property
    def is_requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal_number is not None

    @property
    def name(self) -> str:
        """Name of the signal, such as ``SIGTERM``; empty when there was none."""
        return "" if self.signal_number is None else signal.Signals(self.signal_number).name

    @property
    def exit_code(self) -> int:
        """What a shell reports for a process ended by that signal: 128 + its number; else 0."""
        return 0 if self.signal_number is None else 128 + self.signal_number

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first signal decides the exit code; later ones change nothing, because the
        # checkpoint is already on its way.
        if self.signal_number is None:
            self.signal_number = number
