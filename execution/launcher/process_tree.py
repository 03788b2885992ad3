"""The processes that descend from a command: finding them, asking them to stop, killing them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from execution.launcher.files import write_atomically

# <linux/prctl.h>
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
SHELLS: Final = frozenset({"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "zsh"})
# They read a pipe, usually from the training, and end when it ends: `python train.py | tee log`.
# Ended first, they would break the pipe while the training saves.
FILTERS: Final = frozenset(
    {"awk", "cat", "cut", "gawk", "grep", "gzip", "head", "mawk", "rotatelogs", "sed", "sort"}
    | {"stdbuf", "tail", "tee", "tr", "ts", "uniq", "zstd"}
)
PROCS: Final = "cgroup.procs"  # in the folder of every cgroup
MAX_SCRIPT_BYTES: Final = 65_536  # how much of a shell's script is searched

Identity = tuple[int, float]


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends; False if the system has no
    such thing (Linux has)."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Make this process another user's, for good: it keeps no rights of its former one, and gains
    none by programs that would give them (sudo). Raises OSError."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if sys.platform.startswith("linux"):
        # A worker that is not root holds its rights as ambient ones, which a program would inherit.
        if not _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL):
            raise PermissionError(errno.EPERM, "cannot give up ambient capabilities")
        if not _prctl(PR_SET_NO_NEW_PRIVS, 1):
            raise PermissionError(errno.EPERM, "cannot refuse new privileges")


def _prctl(option: int, value: int) -> bool:
    """Whether prctl(2) has set the option of this process; False where there is no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def since_boot(process: psutil.Process) -> float:
    """When the process started, in seconds since the machine's boot."""
    return process.create_time() - psutil.boot_time()


def identity(process: psutil.Process) -> Identity:
    """Identifies the process even if its PID is reused later or the clock is changed."""
    return process.pid, round(since_boot(process), 2)


def find(pid: int, started: float) -> psutil.Process | None:
    """The living process with this identity."""
    try:
        process = psutil.Process(pid)
        same = abs(since_boot(process) - started) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of ``processes`` that are alive, each once."""
    return [process for process in set(processes) if lives(process)]


def send(process: psutil.Process, number: int) -> bool:
    """Send a signal to the process, and never to another one that has got its PID since.

    Returns False if this user may not signal it.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # not Linux, or an old one
        return _send_by_pid(process, number)
    try:
        # The handle cannot come to mean another process. Is it this one already?
        if process.is_running():
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    finally:
        os.close(handle)
    return True


def _send_by_pid(process: psutil.Process, number: int) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        return False
    return True


# --- asking ----------------------------------------------------------------------------------


class Asking:
    """Asks processes to stop with SIGTERM: from the top down, and each process at most once.

    Many scripts exit without saving at a second SIGTERM. Launchers of ranks (torchrun, accelerate,
    deepspeed, mpirun) forward it and wait, so a process is not asked while its parent still has to
    do that: only once the parent has gone. A shell dies and forwards nothing, and its children are
    next. ``note`` is a file that remembers who was asked, for whoever continues.
    """

    def __init__(self, note: Path) -> None:
        self._note = note
        self._asked: set[Identity] = set()
        self._deaf: set[Identity] = set()  # shells that were asked, live on and forward nothing
        with contextlib.suppress(FileNotFoundError):
            content = json.loads(note.read_text())
            self._asked = {(pid, started) for pid, started in content["asked"]}
            self._deaf = {(pid, started) for pid, started in content["deaf"]}

    def ask(self, processes: list[psutil.Process]) -> None:
        """Ask those of a tree's living ``processes`` whose turn it is."""
        parents = {process.pid: process for process in processes}
        for process in processes:
            try:
                parent = parents.get(process.ppid())
                if parent is None or identity(parent) in self._deaf:
                    self._ask(process)
            except psutil.Error:
                continue  # it has just gone

    def _ask(self, process: psutil.Process) -> None:
        who = identity(process)
        if who in self._asked or (self._asked and process.name() in FILTERS):
            return
        self._asked.add(who)
        if is_shell(process) and survives_sigterm(process):
            if forwards_signals(process):
                self._asked |= {identity(child) for child in descendants(process)}
            else:
                self._deaf.add(who)
        # First the note: twice is worse than not at all. On a full disk there is none, and this
        # process alone remembers.
        with contextlib.suppress(OSError):
            write_atomically(self._note, {"asked": list(self._asked), "deaf": list(self._deaf)})
        send(process, signal.SIGTERM)


def is_shell(process: psutil.Process) -> bool:
    """Also if it runs a script by its first line, which gives the process the script's name.

    Raises psutil.Error.
    """
    return not SHELLS.isdisjoint({Path(process.exe()).name, process.name()})


def survives_sigterm(process: psutil.Process) -> bool:
    """Whether the process handles or ignores SIGTERM; False where the system does not tell."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    masks = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bits = int(masks.get("SigIgn", "0"), 16) | int(masks.get("SigCgt", "0"), 16)
    return bool(bits >> (signal.SIGTERM - 1) & 1)


def forwards_signals(shell: psutil.Process) -> bool:
    """Whether the shell's script sends signals itself (``trap 'kill $child' TERM``). A guess from
    its text: the system does not tell."""
    words = shell.cmdline()[1:]
    texts = [word.encode() for word in words]
    for word in words:
        if not word.startswith("-"):
            texts.append(_beginning(Path(shell.cwd()) / word))
            break
    return any(b"kill" in text for text in texts)


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as script:
            return script.read(MAX_SCRIPT_BYTES)
    except (OSError, ValueError):
        return b""


# --- cgroups ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cgroup:
    """A cgroup (version 2) that holds an attempt's processes: no descendant leaves it by clearing
    its environment, starting a session or forking twice."""

    path: Path

    @classmethod
    def create(cls, name: str) -> Cgroup | None:
        """Below this process's own cgroup; None where that is not possible: no cgroup v2, not
        delegated to this user, read-only as in most containers, or Linux before 5.14."""
        own = own_cgroup()
        if own is None:
            return None
        group = cls(own / name)
        try:
            group.path.mkdir(exist_ok=True)
        except OSError:
            return None
        if os.access(group.path / "cgroup.kill", os.W_OK) and os.access(group._procs, os.W_OK):
            return group
        group.remove()
        return None

    @classmethod
    def at(cls, path: Path, name: str) -> Cgroup | None:
        """The group of this name at ``path``; None if there is none, or something else."""
        is_group = path.is_absolute() and path.name == name and (path / PROCS).is_file()
        return cls(path) if is_group else None

    @property
    def _procs(self) -> Path:
        return self.path / PROCS

    def enter(self) -> None:
        """Move this process into the group. Safe after a fork."""
        with contextlib.suppress(OSError):  # it is then found as a descendant
            handle = os.open(self._procs, os.O_WRONLY)
            try:
                os.write(handle, b"0")
            finally:
                os.close(handle)

    def processes(self) -> list[psutil.Process]:
        """The processes in it and in groups below it."""
        found = []
        for folder in self._folders():
            try:
                pids = [int(pid) for pid in (folder / PROCS).read_text().split()]
            except OSError:
                continue
            for pid in pids:
                with contextlib.suppress(psutil.Error):
                    found.append(psutil.Process(pid))
        return found

    def kill(self) -> None:
        """Send SIGKILL to everything in it, at once: nothing can fork its way out."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """Delete the group if it is empty."""
        for folder in self._folders():
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _folders(self) -> list[Path]:
        """Those of the groups below it, the deepest first, and its own; no other folders."""
        walk = os.walk(self.path, topdown=False)
        return [Path(folder) for folder, _folders, files in walk if PROCS in files]


def own_cgroup() -> Path | None:
    """The folder of this process's cgroup v2."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in groups if line.startswith("0::")), None)
    for mount in mounts:
        fields, _, kind = mount.partition(" - ")
        root, point = fields.split()[3:5]
        if own is not None and kind.startswith("cgroup2 ") and Path(own).is_relative_to(root):
            return Path(point) / Path(own).relative_to(root)
    return None
