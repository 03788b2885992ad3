"""Finds, signals and kills the processes of the embedded PostgreSQL.

The pid file alone is never trusted: after a crash, its pid may belong to another program.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from trainhub.up.postgres_errors import EmbeddedPostgresError

POLL_SECONDS: Final = 0.02

# This process must wait for its children, or they stay zombies, even if another object or process
# has stopped them. They are kept here, not in the object, because Popen warns when it is dropped
# while its process is still running, and the server is meant to keep running.
_children: list[subprocess.Popen[bytes]] = []


class ClusterProcesses:
    """The processes of the cluster in one data directory, no matter which process started them."""

    def __init__(self, data_directory: Path, cluster_name: str) -> None:
        """``cluster_name`` is part of the title of every process, as ps shows it."""
        self._data_directory = data_directory
        self._cluster_name = cluster_name

    def server(self) -> psutil.Process | None:
        """The server in the pid file, if that process really is a server of this cluster."""
        _reap_children()
        try:
            process = psutil.Process(int(self.read_pid_file()[0]))
        except (psutil.Error, IndexError, ValueError):
            return None
        return process if self.owns(process) else None

    def all(self) -> list[psutil.Process]:
        _reap_children()
        return [process for process in psutil.process_iter() if self.owns(process)]

    def owns(self, process: psutil.Process) -> bool:
        """Whether this is a live `postgres` process whose working directory is the data directory.

        That is true of all of a server's processes. Root in a container may not be allowed to read
        another account's working directory; in that case, check for the cluster name in the title.
        """
        try:
            if process.name() != "postgres":
                return False
            try:
                return self._works_here(process)
            except (PermissionError, psutil.AccessDenied):
                return self._cluster_name in " ".join(process.cmdline())
        except (psutil.Error, OSError):  # it has exited in the meantime
            return False

    def _works_here(self, process: psutil.Process) -> bool:
        if sys.platform != "linux":
            return os.path.samefile(process.cwd(), self._data_directory)
        # The link resolves to the directory itself, even if another container uses the same path.
        link = f"/proc/{process.pid}/cwd"
        place = os.stat(link)
        if place.st_nlink == 0:
            # The cluster was deleted while its server was running. When it exits, it would delete
            # the socket of the next server.
            return os.readlink(link) == f"{self._data_directory.resolve()} (deleted)"
        return os.path.samestat(place, self._data_directory.stat())

    def read_pid_file(self) -> list[str]:
        """The lines of postmaster.pid (1: pid, 8: status); [] if there is none."""
        try:
            text = (self._data_directory / "postmaster.pid").read_text()
        except (FileNotFoundError, PermissionError):
            return []
        return [line.strip() for line in text.splitlines()]

    def end(self) -> None:
        """Kill every process of this cluster left by a killed server or a failed stop."""
        for number, seconds in ((signal.SIGQUIT, 2.0), (signal.SIGKILL, 3.0)):
            leftovers = self.all()
            for process in leftovers:
                send_signal(process, number)
            if not leftovers or wait_for(lambda: not self.all(), seconds):
                return
        raise EmbeddedPostgresError(
            f"PostgreSQL processes in {self._data_directory.parent} could not be stopped: "
            f"{', '.join(str(process.pid) for process in self.all())}."
        )


def adopt_child(child: subprocess.Popen[bytes]) -> None:
    """Register a server started by this process, so that it is reaped after it exits."""
    _children.append(child)


def _reap_children() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def send_signal(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process; psutil checks that the pid still belongs to it."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL is running as process {process.pid} of another user: stop it as that user "
            "or root."
        ) from error


def wait_for(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
