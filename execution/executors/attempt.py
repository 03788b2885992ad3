"""One attempt of a run on this host: its directory, its launcher, its processes.

The state of the processes is never kept in memory: it is read from the files that the launcher
writes and from the operating system.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from core.exceptions import DomainError
from core.files import open_to_pass
from core.messages import Message, Text
from execution import launcher
from execution.executors import training_user
from execution.executors.environment import inherited
from execution.executors.training_user import TrainingUser
from execution.launcher import files, nodes, process_tree, program
from execution.launcher.process_tree import Asking, Cgroup
from runs.models import Run

logger = logging.getLogger(__name__)

KILL_SECONDS = 5.0  # how long to wait for killed processes
MOMENT_SECONDS = program.MOMENT_SECONDS  # for what outlives the command
# Exit codes of programs that a signal ended (128 + HUP, INT, KILL, TERM).
SIGNALLED_CODES = frozenset({129, 130, 137, 143})
# Files that tell nothing of the training: requests, signs of life, notes of workers.
REQUESTS = frozenset(
    {"stop-sent", "asked.json", "killed", "heartbeat", "time-limit", "node-failed", "job.log"}
    | {"slurm.json", "slurm-end.json"}
    | {"ray.json", "ray-end.json", "ray-stopped", "ray-over.json"}
    | {"mirror-alive", "mirrored.json", "clock.json"}
)
CLOCK = "clock.json"  # the node's clock minus this host's, in seconds, if it is another one


@dataclass(frozen=True)
class Launch:
    """A launcher that this process started and has to wait for, so that it stays no zombie.
    ``failure``: why the one before it could not do its work."""

    process: subprocess.Popen[bytes]
    failure: Text = ""


_launches: dict[Attempt, Launch] = {}
_launches_lock = threading.Lock()


class LauncherFailed(DomainError):
    """The launcher has ended before its work began. Starting it again may help: the disk was full,
    for one."""


@dataclass(frozen=True)
class Cause:
    """Why a cluster has ended an attempt. ``kind``: a FailureKind. ``is_interruption``: the
    training can do nothing about it, and goes on without using up a restart."""

    kind: str
    reason: Text
    is_interruption: bool = False


@dataclass(frozen=True)
class Ending:
    """How the command ended; ``returncode`` is negative for a signal, None if unknown."""

    returncode: int | None
    # Unix seconds, by the clock that dates its files; not later than the actual end.
    at: float
    # Whether whoever wrote files was killed, maybe while it did; None: judge by the return code.
    cut_off: bool | None = None
    disk_full: bool = False  # at the end there was no place for a note
    node: int = 0  # the one that it tells of, the first that failed
    cause: Cause | None = None  # if its cluster has ended it

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

    @property
    def folder(self) -> Path:
        """Where its training works: a part of its directory, if the training has a user of its own,
        else all of it."""
        return self.directory.joinpath(self._launch.get("folder", ""))

    @property
    def owner(self) -> int | None:
        """The UID of its training, if that is not the worker's."""
        user = self._launch.get("user")
        return None if user is None else int(user["uid"])

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
        user: TrainingUser | None = None,
        *,
        starts_in: Path | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the directory from ``draft``, atomically. ``user``: the training's own, who gets
        the draft's folder training_user.FOLDER. ``starts_in``: the working directory of the
        command, in the draft; default: the folder where the training works. ``engine``: what
        launchers in a cluster are told. Raises OSError."""
        description: dict[str, Any] = {
            "command": command,
            "environment": environment,
            "devices": list(devices),
            "moment_seconds": MOMENT_SECONDS,
            "cgroup": self._cgroup_name if settings.WORKER_CGROUPS else None,
        }
        if user is not None:
            description |= {"folder": training_user.FOLDER, "user": user.note()}
        if starts_in is not None:
            description["starts_in"] = str(starts_in.relative_to(draft))
        if engine is not None:
            description |= {"cgroup": None, **engine}
        self.describe(draft, description)
        if user is not None:
            self._hand_over(draft, user)
        draft.rename(self.directory)

    def describe(self, draft: Path, description: Mapping[str, Any]) -> None:
        """Write what launchers need into ``draft``. Raises OSError."""
        files.write_atomically(draft / "launch.json", dict(description))
        for rank in range(description.get("nodes", 1)):
            nodes.prepare(nodes.folder_of(draft, rank))
        for name in ("stop-sent", "killed"):
            files.reserve(draft / name, size_bytes=0)

    def _hand_over(self, draft: Path, user: TrainingUser) -> None:
        user.own(draft / training_user.FOLDER)
        for name in ("stdout.log", "stderr.log"):  # a script may open /dev/stdout
            os.chown(draft / name, user.uid, user.gid)
        # The other files are closed to it, and it cannot list what is on the way to its folder.
        for passed in (draft, *self.directory.parents[:3]):  # up to the data directory
            open_to_pass(passed)

    @property
    def engine(self) -> str:
        """The cluster that runs it; "" for this host."""
        return str(self._launch.get("engine", ""))

    @property
    def node_count(self) -> int:
        return int(self._launch.get("nodes", 1))

    def node_folder(self, rank: int) -> Path:
        """Where the launcher of a node writes."""
        return nodes.folder_of(self.directory, rank)

    @property
    def devices(self) -> set[str]:
        """The GPUs that its processes use."""
        return set(self._launch.get("devices", ()))

    @property
    def _launch(self) -> dict[str, Any]:
        return files.read(self.directory / "launch.json") or {}

    def launch(self) -> None:
        """Start the launcher, unless it is at work or has been: then this does nothing. Whoever
        created the attempt may have died before it did.

        Raises OSError, and LauncherFailed until a launcher succeeds after one has failed.
        """
        _reap_launchers()
        if not self._is_launching():
            return
        with _launches_lock:
            last = _launches.get(self)
            if last is None or last.process.poll() is not None:
                last = Launch(self._start_launcher(), self._failure_of(last))
                _launches[self] = last
        if last.failure:
            raise LauncherFailed(last.failure)

    def _start_launcher(self) -> subprocess.Popen[bytes]:
        with (self.directory / "launcher.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", str(launcher.PROGRAM), str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=inherited(),  # like the training, it has no use for secrets
            )

    def _failure_of(self, last: Launch | None) -> Text:
        if last is None or last.process.returncode == 0:  # 0: another launcher is faster
            return "" if last is None else last.failure
        lines = (self.directory / "launcher.log").read_text(errors="replace").split("\n")
        why = next((line for line in reversed(lines) if line.strip()), "")
        return Message(
            "The training's launcher cannot start (exit code %(code)d): %(why)s",
            code=last.process.returncode,
            why=why or "–",
        )

    # --- observing ---------------------------------------------------------------------------

    def ending(self) -> Ending | None:
        """How the attempt ended; None while any of its processes works."""
        # Check in the order in which a launcher works, so that no state is missed in between: it
        # writes launcher.json, it is alive, it writes exit.json, it exits.
        launching = self._is_launching()
        alive = self._launcher() is not None or self.process() is not None
        note = files.read(self._exit_note)
        if note is not None:
            at = note.get("at", self._exit_note.stat().st_mtime)
            return Ending(
                int(note["returncode"]), at, note.get("cut_off"), bool(note.get("disk_full"))
            )
        if launching or alive:
            return None
        # The launcher was killed. What outlives the command may still save until it is killed.
        if self.stop_was_sent and not self.was_killed and self._processes():
            return None
        return Ending(None, self.last_modified())

    def ending_at_kill(self) -> Ending:
        """How it ends if it was killed and processes of it are stuck in the kernel: what they still
        write does not count."""
        try:
            return Ending(None, (self.directory / "killed").stat().st_mtime)
        except FileNotFoundError:
            return Ending(None, files.file_time(self.directory))

    @property
    def is_known_to_be_gone(self) -> bool:
        """Whether its launcher has seen the last of its processes end."""
        return self._exit_note.exists()

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
        note = files.read(self.directory / "launcher.json") or {}
        return self._launcher() is not None and bool(note.get("takes_requests"))

    def _is_launching(self) -> bool:
        """Whether its launcher has yet to begin, however long ago it was created."""
        if any((self.directory / name).exists() for name in ("launcher.json", "killed")):
            return False
        return (self.directory / "launch.json").exists()

    def last_modified(self) -> float:
        """When its processes last wrote a file; 0.0 if all have been deleted."""
        times = []
        # Another worker of this host may delete it meanwhile.
        for folder, _folders, names in os.walk(self.directory):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if path.name not in REQUESTS and path != self.directory:
                    with contextlib.suppress(FileNotFoundError):
                        times.append(path.lstat().st_mtime)
        return max(times, default=0.0)

    def now(self) -> float:
        """Now, in Unix seconds by the clock that dates the training's files."""
        return files.file_time(self.directory) + float(files.read(self.directory / CLOCK) or 0.0)

    # --- stopping ----------------------------------------------------------------------------

    @property
    def stop_was_sent(self) -> bool:
        """Whether the command was asked to stop while it was running."""
        notes = [
            files.read(self.node_folder(rank) / "exit.json") for rank in range(self.node_count)
        ]
        told = [note["asked"] for note in notes if note is not None and "asked" in note]
        if told:
            return any(told)
        return (self.directory / "stop-sent").exists()

    def terminate(self) -> None:
        """Ask the processes to save and stop: each once, see process_tree.Asking. Idempotent; call
        again and again, until they have ended."""
        if self._exit_note.exists():
            return
        is_noted = self.request("stop-sent")
        if is_noted and (self._launcher_takes_requests() or self._is_launching()):
            return
        # The launcher was killed, is of an earlier version, or cannot be told: act in its place.
        Asking(self.directory / "asked.json").ask(self._processes())

    @property
    def was_killed(self) -> bool:
        return (self.directory / "killed").exists()

    def request(self, name: str) -> bool:
        """Make a request of the launcher; False if the disk has no place for it."""
        try:
            files.raise_flag(self.directory / name)
        except OSError as error:
            logger.warning("%s cannot be noted (%s)", self.directory / name, error)
            return False
        return True

    def kill(self) -> bool:
        """Kill every process of the attempt and wait until they are gone. False if some are not:
        stuck in the kernel, they die when their system call returns."""
        if not self.directory.exists():
            return True
        # A launcher that has not yet started its command sees this and starts nothing; any other
        # kills what it has started. See execution/launcher/program.py.
        is_noted = self.request("killed")
        starting = self._launcher()
        if starting is not None:
            if is_noted and self._launcher_takes_requests():
                psutil.wait_procs([starting], timeout=KILL_SECONDS)
            elif not (self.directory / "process.json").exists():
                _kill([starting])
        cgroup = self._cgroup()
        if not self._kill_processes(cgroup):
            return False
        ending = self._launcher()
        if ending is not None:  # about to write exit.json
            psutil.wait_procs([ending], timeout=KILL_SECONDS)
        elif cgroup is not None:
            cgroup.remove()
        _reap_launchers()
        return True

    def _kill_processes(self, cgroup: Cgroup | None) -> bool:
        foreign: set[psutil.Process] = set()  # of another user: neither killed nor waited for
        while processes := set(self._processes()) - foreign:
            if cgroup is not None:
                cgroup.kill()
            refused, alive = _kill(processes)
            if alive:
                return False
            foreign |= refused
        return True

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
        if not self._exit_note.exists() and not self.was_killed:
            self.kill()

    def _processes(self) -> list[psutil.Process]:
        """The command and everything that it started, even if the command itself has exited, as
        far as that can be known without the launcher: by the cgroup, by descent, by the launcher's
        last record, and by the environment."""
        roots = [process for process in (self.process(), *self._recorded()) if process is not None]
        found = {process for root in roots for process in process_tree.descendants(root)}
        found.update(roots, self.tree(), self._by_environment())
        cgroup = self._cgroup()
        if cgroup is not None:
            found.update(cgroup.processes())
        return process_tree.living(found)

    def _recorded(self) -> list[psutil.Process | None]:
        notes = files.read(self.directory / "descendants.json") or []
        return [process_tree.find(pid, started) for pid, started in notes]

    def _cgroup(self) -> Cgroup | None:
        try:
            path = Path((self.directory / "cgroup").read_text())
        except FileNotFoundError:
            return None
        return Cgroup.at(path, self._cgroup_name)

    @property
    def _cgroup_name(self) -> str:
        return f"trainhub-{self.run_id}-{self.number}"

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
    return {folder.name: attempts_in(folder) for folder in folders}


def attempts_in(folder: Path) -> list[Attempt]:
    numbers = (path.name.removeprefix("attempt-") for path in folder.glob("attempt-*"))
    return [Attempt(folder.name, int(number)) for number in numbers if number.isdecimal()]


def forget(run_id: str) -> None:
    """Kill the run's processes on this host and delete its files, except those of attempts that
    cannot be killed yet: they tell which GPUs these hold. Call again then."""
    folder = run_directory(run_id)
    gone = True
    for attempt in attempts_in(folder):
        if attempt.kill():
            attempt.delete()
        else:
            gone = False
    if gone:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        logger.warning("processes of run %s cannot be killed yet", run_id)


def _reap_launchers() -> None:
    with _launches_lock:
        for attempt, launch in list(_launches.items()):
            if launch.process.poll() is not None and not attempt._is_launching():
                del _launches[attempt]


def _live_process(path: Path) -> psutil.Process | None:
    """The process that ``path`` describes, if it is alive and its PID was not reused."""
    note = files.read(path)
    return None if note is None else process_tree.find(int(note["pid"]), note["since_boot"])


def _kill(
    processes: Iterable[psutil.Process],
) -> tuple[set[psutil.Process], set[psutil.Process]]:
    """Kill the processes; return those that this user may not kill, and those of the others that
    still live after KILL_SECONDS."""
    everyone = set(processes)
    refused = {item for item in everyone if not process_tree.send(item, signal.SIGKILL)}
    _gone, alive = psutil.wait_procs(everyone - refused, timeout=KILL_SECONDS)
    return refused, set(alive)
