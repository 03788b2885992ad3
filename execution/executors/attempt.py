"""One attempt of a run on this host: its directory, its launcher, its processes.

The state of the processes is never kept in memory: it is read from the files that launcher.py
writes and from the operating system.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from execution.executors import launcher, process_tree
from execution.executors.process_tree import Asking, Cgroup
from runs.models import Run

# How long a launcher may take to start before its attempt counts as dead.
LAUNCH_SECONDS = 30.0
KILL_SECONDS = 5.0  # how long to wait for killed processes
MOMENT_SECONDS = launcher.MOMENT_SECONDS  # for what outlives the command; see launcher.py
# Exit codes of programs that a signal ended (128 + HUP, INT, KILL, TERM).
SIGNALLED_CODES = frozenset({129, 130, 137, 143})

# Launchers that this process started and has to wait for, so that none stays a zombie.
_launchers: list[subprocess.Popen[bytes]] = []
_launchers_lock = threading.Lock()


@dataclass(frozen=True)
class Ending:
    """How the command ended; ``returncode`` is negative for a signal, None if unknown."""

    returncode: int | None
    at: float  # Unix seconds; not later than the actual end
    # Whether whoever wrote files was killed, maybe while it did; None: judge by the return code.
    cut_off: bool | None = None

    @property
    def trusted_until(self) -> float:
        """Files written at or after this time (Unix seconds) may be incomplete; infinite if the
        command was not killed."""
        killed = self.returncode is None or self.returncode < 0
        return self.at if (killed if self.cut_off is None else self.cut_off) else math.inf


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

    def create(
        self,
        draft: Path,
        command: list[str],
        environment: dict[str, str],
        devices: Sequence[str] = (),
    ) -> None:
        """Create the directory from ``draft``, atomically."""
        description = {
            "command": command,
            "environment": environment,
            "devices": list(devices),
            "moment_seconds": MOMENT_SECONDS,
            "cgroup": f"trainhub-{self.run_id}-{self.number}" if settings.WORKER_CGROUPS else None,
        }
        process_tree.write_atomically(draft / "launch.json", description)
        (draft / "launch.json").chmod(0o600)  # it may contain a token
        draft.rename(self.directory)

    @property
    def devices(self) -> set[str]:
        """The GPUs that its processes use."""
        launch = _read_json(self.directory / "launch.json") or {}
        return set(launch.get("devices", ()))

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
        with _launchers_lock:
            _launchers.append(process)

    # --- observing ---------------------------------------------------------------------------

    def ending(self) -> Ending | None:
        """How the attempt ended; None while any of its processes works."""
        # Check in the order in which a launcher works, so that no state is missed in between: it
        # writes launcher.json, it is alive, it writes exit.json, it exits.
        launching = self._is_launching()
        alive = self._launcher() is not None or self.process() is not None
        note = _read_json(self._exit_note)
        if note is not None:
            at = note.get("at", self._exit_note.stat().st_mtime)
            return Ending(int(note["returncode"]), at, note.get("cut_off"))
        if launching or alive:
            return None
        # The launcher was killed. What outlives the command may still save until it is killed.
        if self.stop_was_sent and not self._was_killed and self._processes():
            return None
        return Ending(None, self._last_modified())

    @property
    def _exit_note(self) -> Path:
        return self.directory / "exit.json"

    def process(self) -> psutil.Process | None:
        """The command's process, if it is alive."""
        return _live_process(self.directory / "process.json")

    def tree(self) -> list[psutil.Process]:
        """Its living processes, without the launcher."""
        launcher = self._launcher()
        return [] if launcher is None else process_tree.living(process_tree.descendants(launcher))

    def _launcher(self) -> psutil.Process | None:
        return _live_process(self.directory / "launcher.json")

    def _launcher_takes_requests(self) -> bool:
        note = _read_json(self.directory / "launcher.json") or {}
        return self._launcher() is not None and bool(note.get("takes_requests"))

    def _is_launching(self) -> bool:
        if any((self.directory / name).exists() for name in ("launcher.json", "killed")):
            return False
        try:
            launched_at = (self.directory / "launch.json").stat().st_mtime
        except FileNotFoundError:
            return False  # a part of its directory has been deleted: it had ended
        return time.time() - launched_at < LAUNCH_SECONDS

    def _last_modified(self) -> float:
        """Unix seconds; 0.0 if all its files have been deleted, by another thread for one."""
        times = []
        for path in self.directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                times.append(path.lstat().st_mtime)
        return max(times, default=0.0)

    # --- stopping ----------------------------------------------------------------------------

    @property
    def stop_was_sent(self) -> bool:
        """Whether the command was asked to stop while it was running."""
        note = _read_json(self._exit_note)
        if note is not None and "asked" in note:
            return bool(note["asked"])
        return (self.directory / "stop-sent").exists()

    def terminate(self) -> None:
        """Ask the processes to save and stop: each once, see process_tree.Asking. Idempotent; call
        again and again, until they have ended."""
        if self._exit_note.exists():
            return
        (self.directory / "stop-sent").touch()
        if self._launcher_takes_requests() or self._is_launching():
            return
        # The launcher was killed, or is one of an earlier version: act in its place.
        Asking(self.directory / "asked.json").ask(self._processes())

    @property
    def _was_killed(self) -> bool:
        return (self.directory / "killed").exists()

    def kill(self) -> None:
        """Kill every process of the attempt and wait until they are gone."""
        if not self.directory.exists():
            return
        # A launcher that has not yet started its command sees this and starts nothing; any other
        # kills what it has started. See launcher.py.
        (self.directory / "killed").touch()
        starting = self._launcher()
        if starting is not None:
            if self._launcher_takes_requests():
                psutil.wait_procs([starting], timeout=KILL_SECONDS)
            elif not (self.directory / "process.json").exists():
                _kill([starting])
        cgroup = self._cgroup()
        while processes := self._processes():
            if cgroup is not None:
                cgroup.kill()
            if not _kill(processes):
                return  # stuck in the kernel: it dies when its system call returns
        ending = self._launcher()
        if ending is not None:  # about to write exit.json
            psutil.wait_procs([ending], timeout=KILL_SECONDS)
        elif cgroup is not None:
            cgroup.remove()
        _reap_launchers()

    def delete(self) -> None:
        """Delete its files. Whoever looks meanwhile, or after this process was killed, finds no
        attempt instead of a part of one."""
        deleted = self.directory.with_name(f".deleted-{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            self.directory.rename(deleted)
        shutil.rmtree(deleted, ignore_errors=True)

    def kill_leftovers(self) -> None:
        """Kill what is left of an attempt that has ended, if its launcher was killed and did not
        do that."""
        if not self._exit_note.exists() and not self._was_killed:
            self.kill()

    def _processes(self) -> list[psutil.Process]:
        """The command and everything that it started, even if the command itself has exited, as
        far as that can be known without the launcher: by the cgroup, by descent, by the launcher's
        last record, and by the environment."""
        roots = [process for process in (self.process(), *self._recorded()) if process is not None]
        found = {process for root in roots for process in process_tree.descendants(root)}
        found.update(roots, self._by_environment())
        cgroup = self._cgroup()
        if cgroup is not None:
            found.update(cgroup.processes())
        return process_tree.living(found)

    def _recorded(self) -> list[psutil.Process | None]:
        notes = _read_json(self.directory / "descendants.json") or []
        return [process_tree.find(pid, started) for pid, started in notes]

    def _cgroup(self) -> Cgroup | None:
        try:
            return Cgroup(Path((self.directory / "cgroup").read_text()))
        except FileNotFoundError:
            return None

    def _by_environment(self) -> list[psutil.Process]:
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
        attempt.delete()
    shutil.rmtree(folder, ignore_errors=True)


def _reap_launchers() -> None:
    with _launchers_lock:
        _launchers[:] = [process for process in _launchers if process.poll() is None]


def _live_process(path: Path) -> psutil.Process | None:
    """The process that ``path`` describes, if it is alive and its PID was not reused."""
    note = _read_json(path)
    return None if note is None else process_tree.find(int(note["pid"]), note["since_boot"])


def _kill(processes: list[psutil.Process]) -> bool:
    """Kill the processes; return whether all are gone within KILL_SECONDS."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _gone, alive = psutil.wait_procs(processes, timeout=KILL_SECONDS)
    return not alive


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def inherited_environment() -> dict[str, str]:
    """The worker's environment without TrainHub's settings and the database's secrets, which a
    training must not see."""
    hidden = ("TRAINHUB_", "DJANGO_", "MLFLOW_TRACKING_", "DATABASE_URL", "PGPASS")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
