"""The data directory lock of `manage.py up`, and cleanup of processes left by a killed `up`."""

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

from trainhub.up.preflight import StartupError

LOCK_NAME: Final = "up.lock"
POLL_SECONDS: Final = 0.1
# How long to wait for the lock: a killed `up` may take a moment to go away, a stopping one longer.
HELD_TIMEOUT_SECONDS: Final = 2.0
STOPPING_TIMEOUT_SECONDS: Final = 15.0
# Orphans exit on their own (child_process.py); kill those still running after this time.
ORPHAN_TIMEOUT_SECONDS: Final = 10.0
KILL_SECONDS: Final = 3.0


@dataclass(frozen=True)
class ProcessRecord:
    """Identifies a process by pid and start time, because the system may reuse the pid."""

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
        """Send SIGKILL to the process group it leads."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def recorded_processes(directory: Path) -> list[ProcessRecord]:
    """The processes started by the last holder of the data directory, in start order."""
    try:
        content = (directory / LOCK_NAME).read_bytes()
    except OSError:
        return []
    return _records(_parse(content))


def _records(state: dict[str, Any]) -> list[ProcessRecord]:
    return [ProcessRecord(**entry) for entry in state.get("processes", [])]


def _parse(content: bytes) -> dict[str, Any]:
    """Parse the lock file; {} if it is incomplete, after a crash or during a write."""
    try:
        state = json.loads(content)
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


class DataDirectory:
    """A lock on a data directory, which the system releases however its holder exits.

    The lock file records the holder and the processes it has started, for the next holder.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._file = -1
        self._orphans: list[ProcessRecord] = []

    def acquire(self) -> None:
        """Lock the directory. Raises StartupError if another `up` holds it."""
        self._file = self._open()
        started = time.monotonic()
        while not self._lock():
            state = self._read()
            timeout = STOPPING_TIMEOUT_SECONDS if state.get("stopping") else HELD_TIMEOUT_SECONDS
            if time.monotonic() - started > timeout:
                raise StartupError(
                    _(
                        "TrainHub is already running on this data directory (process %(pid)s, "
                        "%(path)s): stop it, or set TRAINHUB_DATA_DIR to another directory."
                    )
                    % {"pid": state.get("pid", "?"), "path": self._path.parent}
                )
            time.sleep(POLL_SECONDS)
        self._orphans = _records(self._read())
        self.record(self._orphans)

    def end_orphans(self) -> bool:
        """Wait for processes left by a killed `up` to exit, and kill those that do not.

        Returns whether an earlier `up` was killed at all. Raises StartupError.
        """
        for seconds in (ORPHAN_TIMEOUT_SECONDS, KILL_SECONDS):
            deadline = time.monotonic() + seconds
            while (left := self._running_orphans()) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            for orphan in left:
                orphan.kill_group()
        if left := self._running_orphans():
            raise StartupError(
                _("Processes left by an earlier start could not be stopped: %(pids)s.")
                % {"pids": ", ".join(str(orphan.pid) for orphan in left)}
            )
        self.record([])
        return bool(self._orphans)

    def _running_orphans(self) -> list[ProcessRecord]:
        return [orphan for orphan in self._orphans if orphan.is_running]

    def record(self, processes: list[ProcessRecord], *, stopping: bool = False) -> None:
        """Record the running processes, for the next `up` in case this one is killed."""
        state = {
            "pid": os.getpid(),
            "stopping": stopping,
            "processes": [asdict(process) for process in processes],
        }
        content = json.dumps(state).encode()
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
            raise StartupError(
                _("%(path)s cannot be opened: %(reason)s. Was it created by another user?")
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
