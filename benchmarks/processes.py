"""CPU time and memory of the measured processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress

import psutil


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


class Watched:
    """Process families, by their names in reports."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = {"client": os.getpid(), **pids}
        self._seen: dict[str, dict[psutil.Process, float]] = {who: {} for who in self._pids}

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far. Processes that have ended count with their last known value."""
        for who, pid in self._pids.items():
            # This process is the parent of all others: count only itself.
            processes = [psutil.Process(pid)] if who == "client" else family(pid)
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    self._seen[who][process] = times.user + times.system
        return {who: sum(seen.values()) for who, seen in self._seen.items()}


class MemorySampler:
    """Sample the resident memory of each process of a family once per second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.rss_mb: dict[int, list[float]] = {}

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(1):
            for process in family(self._pid):
                with suppress(psutil.NoSuchProcess):
                    rss = process.memory_info().rss / 1e6
                    self.rss_mb.setdefault(process.pid, []).append(rss)
