"""One attempt of a run on this host: its directory, its launcher, its processes.

Nothing is remembered here: what is true of the processes is read from the files that launcher.py
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

from runs.executors import launcher
from runs.models import Run

# How long a launcher may take to begin before its attempt counts as dead.
LAUNCH_SECONDS = 30.0
KILL_SECONDS = 5.0  # until what was killed is gone
# Exit codes by which a program says that a signal ended it (128 + HUP, INT, KILL, TERM).
SIGNALLED_CODES = frozenset({129, 130, 137, 143})

# Launchers that this process started: kept until they end, so that they are waited for.
_launchers: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Ending:
    """How the command ended; ``returncode`` is negative for a signal, None if nobody knows."""

    returncode: int | None
    at: float  # Unix seconds, not later than the end

    @property
    def trusted_until(self) -> float:
        """What was written at this time (Unix seconds) may have been cut off by the end; never, of
        a command that ended by itself."""
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
        """The run's earlier attempts that were made on this host."""
        for number in range(1, run.attempt):
            attempt = cls(run.pk, number)
            if attempt.directory.exists():
                yield attempt

    @property
    def directory(self) -> Path:
        return run_directory(self.run_id) / f"attempt-{self.number}"

    # --- beginning ---------------------------------------------------------------------------

    @property
    def is_launched(self) -> bool:
        return self.directory.exists()

    def make(self, draft: Path, command: list[str], environment: dict[str, str]) -> None:
        """Make the directory of what is in ``draft``: it is there whole or not at all."""
        description = {"command": command, "environment": environment}
        launcher.write_whole(draft / "launch.json", description)
        (draft / "launch.json").chmod(0o600)  # a token is in it
        draft.rename(self.directory)

    def launch(self) -> None:
        """Start the launcher; if there has been one already, it does nothing."""
        _wait_for_ended_launchers()
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
        """None while it works."""
        # In the order in which a launcher does it, so that it cannot slip through in between: it
        # says that it has begun, it lives, it writes the end down, it ends itself.
        launching = self._is_launching()
        lives = self._launcher() is not None or self.process() is not None
        path = self.directory / "exit.json"
        note = _read_json(path)
        if note is not None:
            return Ending(int(note["returncode"]), path.stat().st_mtime)
        if launching or lives:
            return None
        return Ending(None, self._last_sign_of_life())

    def process(self) -> psutil.Process | None:
        """The command's process if it lives."""
        return _living(self.directory / "process.json")

    def _launcher(self) -> psutil.Process | None:
        return _living(self.directory / "launcher.json")

    def _is_launching(self) -> bool:
        if any((self.directory / name).exists() for name in ("launcher.json", "killed")):
            return False
        launched_at = (self.directory / "launch.json").stat().st_mtime
        return time.time() - launched_at < LAUNCH_SECONDS

    def _last_sign_of_life(self) -> float:
        return max(path.lstat().st_mtime for path in self.directory.rglob("*"))

    # --- ending ------------------------------------------------------------------------------

    @property
    def was_told_to_stop(self) -> bool:
        return (self.directory / "stop-sent").exists()

    def terminate(self) -> None:
        """Send SIGTERM, once: many scripts take a second one as "without saving"."""
        process = self.process()
        if process is None or self.was_told_to_stop:
            return
        (self.directory / "stop-sent").touch()
        try:
            process.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            return  # it has just ended by itself

    def kill(self) -> None:
        """End every process of the attempt, and wait until they are gone."""
        if not self.directory.exists():
            return
        # A launcher that has not begun reads this and starts nothing; see launcher.main.
        (self.directory / "killed").touch()
        starting = self._launcher()
        if starting is not None and not (self.directory / "process.json").exists():
            _kill([starting])
        while processes := self._processes():
            if not _kill(processes):
                return  # stuck in the kernel: it dies when its device lets go of it
        ending = self._launcher()
        if ending is not None:  # about to write the end down
            psutil.wait_procs([ending], timeout=KILL_SECONDS)
        _wait_for_ended_launchers()

    def _processes(self) -> list[psutil.Process]:
        """What the command started too, its leader dead or not: told by its environment."""
        ours = {"TRAINHUB_RUN_ID": self.run_id, "TRAINHUB_ATTEMPT": str(self.number)}
        found = []
        for process in psutil.process_iter():
            try:
                if ours.items() <= process.environ().items():
                    found.append(process)
            except psutil.Error:
                continue  # another user's, a zombie, or gone meanwhile
        return found


def run_directory(run_id: str) -> Path:
    directory: Path = settings.WORK_DIR / run_id
    return directory


def local_runs() -> dict[str, list[Attempt]]:
    """The runs that this host holds something for, each with its attempts."""
    try:
        folders = [path for path in settings.WORK_DIR.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return {}
    return {folder.name: _attempts_in(folder) for folder in folders}


def _attempts_in(folder: Path) -> list[Attempt]:
    numbers = (path.name.removeprefix("attempt-") for path in folder.glob("attempt-*"))
    return [Attempt(folder.name, int(number)) for number in numbers if number.isdecimal()]


def forget(run_id: str) -> None:
    """End what the run still has here, and free its space."""
    folder = run_directory(run_id)
    for attempt in _attempts_in(folder):
        attempt.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for_ended_launchers() -> None:
    _launchers[:] = [process for process in _launchers if process.poll() is None]


def _living(path: Path) -> psutil.Process | None:
    """The process that ``path`` describes, if it lives and is still that one."""
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
    """Whether all of them are gone within KILL_SECONDS."""
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
    """The worker's environment without ours and the database's secrets: they are not the
    training's business."""
    hidden = ("TRAINHUB_", "DJANGO_", "MLFLOW_TRACKING_", "DATABASE_URL", "PGPASS")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
