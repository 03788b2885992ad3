"""Finds processes that hang: stopped by a signal, or without a sign of life."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

BEAT_SECONDS: Final = 1.0


def beat(path: Path, seconds: float = BEAT_SECONDS) -> None:
    """Touch ``path`` every so many ``seconds``, in a thread, as long as Python runs here."""

    def touch() -> None:
        while True:
            _touches(path)
            time.sleep(seconds)

    threading.Thread(target=touch, name="beat", daemon=True).start()


def _touches(path: Path) -> bool:
    """On a full disk too: what counts is the time, which needs no space."""
    try:
        path.touch()
    except OSError:
        return False
    return True


@dataclass
class _Seen:
    """What the last polls of a process showed."""

    beat: float | None = None
    silent: int = 0
    stopped: int = 0


@dataclass
class FrozenProcesses:
    """Poll it regularly. It counts polls, not seconds: a machine that slept has frozen nobody."""

    beats: Path  # a directory of files named by pid
    stopped_polls: int
    silent_polls: int
    _seen: dict[int, _Seen] = field(default_factory=dict)
    _beats_are_kept: bool = True  # not so on a disk that is read-only

    def poll(self, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
        """Those that hang: to be killed."""
        self._beats_are_kept = _touches(self.beats / "watch")
        seen, self._seen = self._seen, {}
        return [
            process
            for process in processes
            if self._hangs(
                process, self._seen.setdefault(process.pid, seen.get(process.pid, _Seen()))
            )
        ]

    def _hangs(self, process: psutil.Process, seen: _Seen) -> bool:
        try:
            is_stopped = process.status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False
        seen.stopped = seen.stopped + 1 if is_stopped else 0
        last = self._last_beat(process.pid)
        is_silent = self._beats_are_kept and last is not None and last == seen.beat
        seen.silent = seen.silent + 1 if is_silent else 0
        seen.beat = last
        return seen.stopped >= self.stopped_polls or seen.silent >= self.silent_polls

    def _last_beat(self, pid: int) -> float | None:
        """None: it has never shown any, as nginx."""
        try:
            return (self.beats / str(pid)).stat().st_mtime
        except OSError:
            return None
