"""One `manage.py up` to a data directory: who holds it, and what an earlier one left running."""

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil
from django.utils.translation import gettext as _

from trainhub.startup import CannotStart

LOCK_NAME: Final = "up.lock"
POLL_SECONDS: Final = 0.1
# An `up` that was killed a moment ago may still be noticed as dead; one that stops, stop.
HELD_PATIENCE_SECONDS: Final = 2.0
STOPPING_PATIENCE_SECONDS: Final = 15.0
# Orphans leave by themselves (trainhub/attached.py); what has not done so by then is killed.
ORPHAN_PATIENCE_SECONDS: Final = 10.0
KILL_SECONDS: Final = 3.0


@dataclass(frozen=True)
class ProcessRecord:
    """A process as it can be found again: its pid alone may be another program's by then."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    @property
    def is_running(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 0.05
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill_group(self) -> None:
        """SIGKILL for it and the processes it leads."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def recorded_processes(directory: Path) -> list[ProcessRecord]:
    """What the last holder of the data directory has started, in the order of their start."""
    try:
        content = (directory / LOCK_NAME).read_bytes()
    except OSError:
        return []
    return _records(_parse(content))


def _records(note: dict[str, Any]) -> list[ProcessRecord]:
    return [ProcessRecord(**entry) for entry in note.get("processes", [])]


def _parse(content: bytes) -> dict[str, Any]:
    """{} for what a crash, or a writer at work, has left half written."""
    try:
        note = json.loads(content)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


class DataDirectory:
    """The hold on a data directory: a lock that the system releases however its holder ends.

    The locked file says who holds it and which processes it has started, for the next holder.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._file = -1
        self._orphans: list[ProcessRecord] = []

    def acquire(self) -> None:
        """Raises CannotStart when another `up` holds the directory."""
        self._file = self._open()
        started = time.monotonic()
        while not self._lock():
            note = self._read()
            patience = STOPPING_PATIENCE_SECONDS if note.get("stopping") else HELD_PATIENCE_SECONDS
            if time.monotonic() - started > patience:
                raise CannotStart(
                    _(
                        "TrainHub already runs on this data directory (process %(pid)s, "
                        "%(path)s): stop that, or set TRAINHUB_DATA_DIR to another directory."
                    )
                    % {"pid": note.get("pid", "?"), "path": self._path.parent}
                )
            time.sleep(POLL_SECONDS)
        self._orphans = _records(self._read())
        self.record(self._orphans)

    def end_orphans(self) -> bool:
        """Wait for what a killed `up` has left running, and kill what does not leave.

        Returns whether the earlier `up` was killed at all. Raises CannotStart.
        """
        for seconds in (ORPHAN_PATIENCE_SECONDS, KILL_SECONDS):
            deadline = time.monotonic() + seconds
            while (left := self._running_orphans()) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            for orphan in left:
                orphan.kill_group()
        if left := self._running_orphans():
            raise CannotStart(
                _("Processes of an earlier start cannot be ended: %(pids)s.")
                % {"pids": ", ".join(str(orphan.pid) for orphan in left)}
            )
        self.record([])
        return bool(self._orphans)

    def _running_orphans(self) -> list[ProcessRecord]:
        return [orphan for orphan in self._orphans if orphan.is_running]

    def record(self, processes: list[ProcessRecord], *, stopping: bool = False) -> None:
        """Write down what is running, for a next `up` should this one be killed."""
        note = {
            "pid": os.getpid(),
            "stopping": stopping,
            "processes": [asdict(process) for process in processes],
        }
        content = json.dumps(note).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                _("%(path)s cannot be opened: %(reason)s. Was it made by another user?")
                % {"path": self._path, "reason": error.strerror}
            ) from error

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> dict[str, Any]:
        return _parse(os.pread(self._file, 1_000_000, 0))
