"""Turn SIGTERM and SIGINT into a stop request that the training loop checks between steps."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """The signal that asked the process to stop, if any."""

    signal_number: int | None = None

    @classmethod
    def install(cls) -> Interruption:
        """Handle SIGTERM and SIGINT from now on."""
        interruption = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interruption._note)
        return interruption

    @property
    def is_requested(self) -> bool:
        """Whether a signal was received."""
        return self.signal_number is not None

    @property
    def name(self) -> str:
        """Name of the signal, such as ``SIGTERM``; empty if there was none."""
        return "" if self.signal_number is None else signal.Signals(self.signal_number).name

    @property
    def exit_code(self) -> int:
        """128 + the signal number, as shells report for a killed process; 0 without a signal."""
        return 0 if self.signal_number is None else 128 + self.signal_number

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first signal determines the exit code; later ones are ignored, because the run is
        # already stopping.
        if self.signal_number is None:
            self.signal_number = number
