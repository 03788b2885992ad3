"""One attempt of a run on this host: its directory, its launcher, its processes.

The state of the processes is never kept in memory: it is read from the files that launcher.py
writes and from the operating system.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from execution.executors import launcher
from runs.models import Run

# How long a launcher may take to start before its attempt counts as dead.
LAUNCH_SECONDS = 30.0
KILL_SECONDS = 5.0  # how long to wait for killed processes
# Exit codes of programs that a signal ended (128 + HUP, INT, KILL, TERM).
SIGNALLED_CODES = frozenset({129, 130, 137, 143})

# Launchers that this process started and has to wait for, so that none stays a zombie.
_launchers: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Ending:
    """How the command ended; ``returncode`` is negative for a signal, None if unknown."""

    returncode: int | None
    at: float  # Unix seconds; not later than the actual end

    @property
    def trusted_until(self) -> float:
        """Files written at or after this time (Unix seconds) may be incomplete; infinite if the
        command was not killed."""
        killed = self.returncode is None or self.returncode < 0
        return self.at if killed else math.inf


@dataclass(frozen=True)
class Attempt:
    run_id: str
    number: int

    @classmethod
    def of(cls, run: Run) -> Attempt:
        return cls(run.pk, run.attempt)

    @classmethod
    def earlier_than(cls, run: Run) -> Iterator[Attempt]:
        """The run's earlier attempts on this host."""
        for number in range(1, run.attempt):
            attempt = cls(run.pk, number)
            if attempt.directory.exists():
                yield attempt

    @property
    def directory(self) -> Path:
        return run_directory(self.run_id) / f"attempt-{self.number}"

    # --- starting ----------------------------------------------------------------------------

    @property
    def is_launched(self) -> bool:
        return self.directory.exists()

    def create(self, draft: Path, command: list[str], environment: dict[str, str]) -> None:
        """Create the directory from ``draft``, atomically."""
        description = {"command": command, "environment": environment}
        launcher.write_atomically(draft / "launch.json", description)
        (draft / "launch.json").chmod(0o600)  # it may contain a token
        draft.rename(self.directory)

    def launch(self) -> None:
        """Start the launcher. Idempotent: a second launcher does nothing."""
        _reap_launchers()
        with (self.directory / "launcher.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", launcher.__file__, str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _launchers.append(process)

    # --- observing ---------------------------------------------------------------------------

    def ending(self) -> Ending | None:
        """How the attempt ended; None while it works."""
        # Check in the order in which a launcher works, so that no state is missed in between: it
        # writes launcher.json, it is alive, it writes exit.json, it exits.
        launching = self._is_launching()
        alive = self._launcher() is not None or self.process() is not None
        path = self.directory / "exit.json"
        note = _read_json(path)
        if note is not None:
            return Ending(int(note["returncode"]), path.stat().st_mtime)
        if launching or alive:
            return None
        return Ending(None, self._last_modified())

    def process(self) -> psutil.Process | None:
        """The command's process, if it is alive."""
        return _live_process(self.directory / "process.json")

    def _launcher(self) -> psutil.Process | None:
        return _live_process(self.directory / "launcher.json")

    def _is_launching(self) -> bool:
        if any((self.directory / name).exists() for name in ("launcher.json", "killed")):
            return False
        launched_at = (self.directory / "launch.json").stat().st_mtime
        return time.time() - launched_at < LAUNCH_SECONDS

    def _last_modified(self) -> float:
        return max(path.lstat().st_mtime for path in self.directory.rglob("*"))

    # --- stopping ----------------------------------------------------------------------------

    @property
    def stop_was_sent(self) -> bool:
        return (self.directory / "stop-sent").exists()

    def terminate(self) -> None:
        """Send SIGTERM, once: many scripts exit without saving at a second one."""
        process = self.process()
        if process is None or self.stop_was_sent:
            return
        (self.directory / "stop-sent").touch()
        try:
            process.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            return  # it has just exited

    def kill(self) -> None:
        """Kill every process of the attempt and wait until they are gone."""
        if not self.directory.exists():
            return
        # A launcher that has not yet started its command sees this and starts nothing; see
        # launcher.main.
        (self.directory / "killed").touch()
        starting = self._launcher()
        if starting is not None and not (self.directory / "process.json").exists():
            _kill([starting])
        while processes := self._processes():
            if not _kill(processes):
                return  # stuck in the kernel: it dies when its system call returns
        ending = self._launcher()
        if ending is not None:  # about to write exit.json
            psutil.wait_procs([ending], timeout=KILL_SECONDS)
        _reap_launchers()

    def _processes(self) -> list[psutil.Process]:
        """The command and everything it started, even if the command itself has exited; identified
        by their environment."""
        variables = {"TRAINHUB_RUN_ID": self.run_id, "TRAINHUB_ATTEMPT": str(self.number)}
        processes = []
        for process in psutil.process_iter():
            try:
                if variables.items() <= process.environ().items():
                    processes.append(process)
            except psutil.Error:
                continue  # another user's, a zombie, or already gone
        return processes


def run_directory(run_id: str) -> Path:
    directory: Path = settings.WORK_DIR / run_id
    return directory


def local_runs() -> dict[str, list[Attempt]]:
    """The runs that have files on this host, each with its attempts."""
    try:
        folders = [path for path in settings.WORK_DIR.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return {}
    return {folder.name: _attempts_in(folder) for folder in folders}


def _attempts_in(folder: Path) -> list[Attempt]:
    numbers = (path.name.removeprefix("attempt-") for path in folder.glob("attempt-*"))
    return [Attempt(folder.name, int(number)) for number in numbers if number.isdecimal()]


def forget(run_id: str) -> None:
    """Kill the run's processes on this host and delete its files."""
    folder = run_directory(run_id)
    for attempt in _attempts_in(folder):
        attempt.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _reap_launchers() -> None:
    _launchers[:] = [process for process in _launchers if process.poll() is None]


def _live_process(path: Path) -> psutil.Process | None:
    """The process that ``path`` describes, if it is alive and its PID was not reused."""
    note = _read_json(path)
    if note is None:
        return None
    try:
        process = psutil.Process(int(note["pid"]))
        same = abs(launcher.since_boot(process) - note["since_boot"]) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _kill(processes: list[psutil.Process]) -> bool:
    """Kill the processes; return whether all are gone within KILL_SECONDS."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _gone, alive = psutil.wait_procs(processes, timeout=KILL_SECONDS)
    return not alive


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def inherited_environment() -> dict[str, str]:
    """The worker's environment without TrainHub's settings and the database's secrets, which a
    training must not see."""
    hidden = ("TRAINHUB_", "DJANGO_", "MLFLOW_TRACKING_", "DATABASE_URL", "PGPASS")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
