"""What a launcher is asked to do, by files in its attempt's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

# Why a training is asked to stop; keys of exit.json.
ASKED: Final = "asked"  # by a worker
TIME_LIMIT: Final = "time_limit"  # the job of its engine is about to end
PEER_FAILED: Final = "peer_failed"  # the training has failed on another node


class Requests:
    """The requests of workers on the launcher's own host."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.stop = ""  # why
        self.kill = False
        self.is_terminated = False  # an engine has sent SIGTERM to all processes

    def look(self) -> None:
        """Bring ``stop`` and ``kill`` up to date."""
        self.stop = ASKED if (self._directory / "stop-sent").exists() else ""
        self.kill = (self._directory / "killed").exists()

    def complete(self, ending: dict[str, Any]) -> None:
        """Add to what exit.json is going to tell."""

    def ended(self, ending: dict[str, Any]) -> None:
        """Called once exit.json is written."""
