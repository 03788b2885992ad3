"""Starts one command, waits until all that descends from it has gone, and records how it ended: the
parent that outlives a worker.

Run as a program in its own session: ``python launcher.py ATTEMPT_DIRECTORY``. It reads
``launch.json`` there:

- ``command``, ``environment``: what to start; the process is called the leader.
- ``moment_seconds``: how long what outlives the leader may take to end by itself, and as long
  again to end after SIGTERM, before it is killed.
- ``cgroup``: a name, to keep the processes in a cgroup if that is possible.
- ``folder``: where the training works, in the directory; absent: the directory itself.
- ``starts_in``: where the leader starts, in the directory; absent: the same.
- ``user``: its ``uid``, ``gid`` and ``groups``, if it is not to be this process's. It then reaches
  nothing in the directory but that folder, and gains no rights by programs that would give them.

It writes ``launcher.json`` and ``process.json`` ({"pid", "since_boot"} of itself and of the
leader), ``cgroup`` (the group's folder), ``descendants.json`` (without a cgroup: who is to be found
if the launcher is killed) and finally ``exit.json``: ``returncode`` of the leader (negative for a
signal, as in subprocess), ``at`` (Unix seconds: when the leader ended, or when everything was
killed), ``asked`` (the leader was still running when it was asked to stop), ``cut_off`` (whoever
wrote files was killed, possibly while it did), ``disk_full`` (it found no place but its reserved
one). Without its other notes it does its work: a full disk must neither end it nor keep it from
being asked. ``at`` is by the clock that dates the files.

Requests reach it as files, which outlive whoever makes them and mean this attempt alone: with
``stop-sent`` it asks the leader to stop, and later what outlives the leader; see
process_tree.Asking. With ``killed`` it kills all of them. A second launcher for the same directory
does nothing; if ``killed`` is there first, the launcher does not start the command.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

if __name__ == "__main__":  # started with -I, which leaves out the directories of this code
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from execution.executors import process_tree
from execution.executors.attempt_files import (
    file_time,
    write_atomically,
    write_reserved,
    write_text_atomically,
)
from execution.executors.process_tree import Asking, Cgroup, since_boot

CANNOT_EXECUTE = 127  # as in shells
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.1
KILL_POLL_SECONDS = 0.02
RECORD_SECONDS = 10.0  # between two records of the descendants
RETRY_SECONDS = 1.0  # before the ending is written again
MOMENT_SECONDS = 3.0


def describe(pid: int) -> dict[str, float]:
    """Identify the process, even if its PID is reused later or the clock is changed."""
    return {"pid": pid, "since_boot": since_boot(psutil.Process(pid))}


def main(directory: Path) -> None:
    umask = os.umask(0o077)  # what is created here is nobody else's
    lock = (directory / "launcher.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if (directory / "launcher.json").exists():
        return
    # Ignore signals: they are meant for the training and are sent to its processes.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # In this order: Attempt.kill writes ``killed`` first and then looks for the launcher.
    # ``takes_requests``: launchers of earlier versions did not.
    write_atomically(directory / "launcher.json", describe(os.getpid()) | {"takes_requests": True})
    if (directory / "killed").exists():
        return
    launch = json.loads((directory / "launch.json").read_text())
    cgroup = create_cgroup(directory, launch.get("cgroup"))
    wake_up = wake_up_at_ends()
    adopts = process_tree.adopt_orphans()
    try:
        process = start(launch, directory, cgroup, umask)
    except (OSError, subprocess.SubprocessError) as error:
        with contextlib.suppress(OSError):
            (directory / "stderr.log").write_text(f"ERROR {error}\n")
        record_ending(directory, {"returncode": CANNOT_EXECUTE})
    else:
        moment = launch.get("moment_seconds", MOMENT_SECONDS)
        watch = Watch(directory, process, cgroup, adopts=adopts, moment=moment)
        record_leader(directory, process.pid)
        watch.run(wake_up)
        record_ending(directory, watch.ending())
    if cgroup is not None:
        cgroup.remove()


def create_cgroup(directory: Path, name: str | None) -> Cgroup | None:
    """A group that workers can find too; None if there can be none."""
    cgroup = Cgroup.create(name) if name else None
    if cgroup is None:
        return None
    try:
        write_text_atomically(directory / "cgroup", str(cgroup.path))
    except OSError:
        cgroup.remove()
        return None
    return cgroup


def record_leader(directory: Path, pid: int) -> None:
    path, note = directory / "process.json", describe(pid)
    try:
        write_atomically(path, note)
    except OSError:
        with contextlib.suppress(OSError):  # it is needed only if this process is killed
            write_reserved(path, note)


def record_ending(directory: Path, ending: dict[str, Any]) -> None:
    """Write ``exit.json``, as soon as there is place for it."""
    path = directory / "exit.json"
    while True:
        try:
            write_atomically(path, ending)
            return
        except OSError as error:
            disk_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        with contextlib.suppress(OSError):
            write_reserved(path, {**ending, "disk_full": disk_full})
            return
        if (directory / "killed").exists() or not directory.exists():
            return  # nobody waits for it
        time.sleep(RETRY_SECONDS)


def wake_up_at_ends() -> int:
    """A file descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def start(
    launch: dict[str, Any], directory: Path, cgroup: Cgroup | None, umask: int
) -> subprocess.Popen[bytes]:
    """Start the training in its own session, so that a terminal's Ctrl-C does not reach it.

    Raises OSError, SubprocessError."""
    user = launch.get("user")

    def prepare() -> None:
        os.umask(umask)
        default_signals()
        if cgroup is not None:
            cgroup.enter()
        if user is not None:
            process_tree.become(user["uid"], user["gid"], user["groups"])

    with (
        (directory / "stdout.log").open("ab") as stdout,
        (directory / "stderr.log").open("ab") as stderr,
    ):
        return subprocess.Popen(
            launch["command"],
            cwd=directory / launch.get("starts_in", launch.get("folder", "")),
            env=launch["environment"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=prepare,
        )


def default_signals() -> None:
    """Restore the default handlers: an ignored signal would stay ignored across exec."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Watch:
    """Follows the leader and its descendants until none is left."""

    def __init__(
        self,
        directory: Path,
        leader: subprocess.Popen[bytes],
        cgroup: Cgroup | None,
        *,
        adopts: bool,
        moment: float,
    ) -> None:
        self._directory = directory
        self._leader = leader
        self._is_shell = False
        self._cgroup = cgroup
        self._adopts = adopts
        self._moment = moment
        self._self = psutil.Process()
        self._asking = Asking(directory / "asked.json")
        self._foreign: set[psutil.Process] = set()  # of another user: cannot be signalled
        self._returncode: int | None = None
        self._ended_at = 0.0  # Unix seconds
        self._ended = 0.0  # monotonic seconds
        self._asked = False
        self._outlived = False
        self._killed_at: float | None = None
        self._next_record = 0.0

    def run(self, wake_up: int) -> None:
        while True:
            leader_gone = self._reap()
            stop = (self._directory / "stop-sent").exists()
            kill = (self._directory / "killed").exists()
            if leader_gone or stop or kill:
                processes = self._processes()
                if leader_gone and not processes:
                    self._reap()  # so that no orphan stays a zombie
                    return
                self._outlived = self._outlived or leader_gone
                self._asked = self._asked or (stop and not leader_gone)
                if kill:
                    self._killed_at = self._killed_at or file_time(self._directory)
                    self._kill(processes)
                elif stop:
                    self._asking.ask(processes)
                else:
                    self._end_leftovers(processes)
            elif self._cgroup is None:
                self._record()
            select.select([wake_up], [], [], KILL_POLL_SECONDS if kill else POLL_SECONDS)
            while _drained(wake_up):
                pass

    def ending(self) -> dict[str, Any]:
        assert self._returncode is not None
        cut_off = self._killed_at is not None
        if not cut_off and self._returncode < 0:
            # A wrapper that dies at SIGTERM writes no files: those that outlived it do.
            wrapped = self._is_shell or (self._asked and self._returncode == -signal.SIGTERM)
            cut_off = not (wrapped and self._outlived)
        return {
            "returncode": self._returncode,
            "at": self._killed_at or self._ended_at,
            "asked": self._asked,
            "cut_off": cut_off,
        }

    def _reap(self) -> bool:
        """Take note of the leader's end, and of that of adopted orphans; whether it has gone."""
        if self._returncode is None:  # looked at again and again: a shell may exec the training
            with contextlib.suppress(psutil.Error):  # it is a zombie: keep what it was
                self._is_shell = process_tree.is_shell(psutil.Process(self._leader.pid))
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                return self._returncode is not None
            if pid == self._leader.pid:
                self._returncode = os.waitstatus_to_exitcode(status)
                self._leader.returncode = self._returncode  # Popen need not wait
                self._ended_at, self._ended = file_time(self._directory), time.monotonic()

    def _processes(self) -> list[psutil.Process]:
        """The living processes of the tree that can be signalled."""
        found = process_tree.descendants(self._self)
        if self._cgroup is not None:
            found += self._cgroup.processes()
        if not self._adopts:
            found += in_session(self._leader.pid)
        return [item for item in process_tree.living(found) if item not in self._foreign]

    def _end_leftovers(self, processes: list[psutil.Process]) -> None:
        """The leader ended by itself: give what is left a moment, then ask, then kill."""
        waited = time.monotonic() - self._ended
        if waited > 2 * self._moment:
            for process in processes:
                with contextlib.suppress(OSError):
                    print("killing a process that outlived the command:", process, flush=True)  # noqa: T201
            self._kill(processes)
        elif waited > self._moment:
            self._asking.ask(processes)

    def _kill(self, processes: list[psutil.Process]) -> None:
        if self._cgroup is not None:
            self._cgroup.kill()
        self._foreign |= {
            process for process in processes if not process_tree.send(process, signal.SIGKILL)
        }

    def _record(self) -> None:
        """Note the descendants: with this process, the only way to find some of them would go."""
        if time.monotonic() < self._next_record:
            return
        self._next_record = time.monotonic() + RECORD_SECONDS
        found = []
        for process in process_tree.descendants(self._self):
            try:
                found.append(process_tree.identity(process))
            except psutil.Error:
                continue
        with contextlib.suppress(OSError):
            write_atomically(self._directory / "descendants.json", found)


def in_session(session: int) -> list[psutil.Process]:
    """The processes of a session, whose ID stays taken as long as it has any."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process)
        except OSError:
            continue
    return found


def _drained(descriptor: int) -> bool:
    try:
        return bool(os.read(descriptor, 4096))
    except BlockingIOError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
