"""Follows a command and all that descends from it, forwards requests, and tells how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from execution.launcher import process_tree
from execution.launcher.files import file_time, write_atomically
from execution.launcher.process_tree import Asking, Cgroup
from execution.launcher.requests import ASKED, Requests

POLL_SECONDS = 0.1
KILL_POLL_SECONDS = 0.02
RECORD_SECONDS = 10.0  # between two records of the descendants


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
        requests: Requests,
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
        self._requests = requests
        self._stops: set[str] = set()  # why it was asked to stop while the leader was running
        self._outlived = False
        self._killed_at: float | None = None
        self._next_record = 0.0

    def run(self, wake_up: int) -> None:
        while True:
            leader_gone = self._reap()
            self._requests.look()
            stop, kill = self._requests.stop, self._requests.kill
            if leader_gone or stop or kill:
                processes = self._processes()
                if leader_gone and not processes:
                    self._reap()  # so that no orphan stays a zombie
                    return
                self._outlived = self._outlived or leader_gone
                if stop and not leader_gone:
                    self._stops.add(stop)
                if kill:
                    self._killed_at = self._killed_at or file_time(self._directory)
                    self._kill(processes)
                elif stop and not self._requests.is_terminated:  # at most once
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
            wrapped = self._is_shell or (self._was_asked and self._returncode == -signal.SIGTERM)
            cut_off = not (wrapped and self._outlived)
        return {
            "returncode": self._returncode,
            "at": self._killed_at or self._ended_at,
            "asked": ASKED in self._stops,
            "cut_off": cut_off,
            **dict.fromkeys(self._stops - {ASKED}, True),
        }

    @property
    def _was_asked(self) -> bool:
        return bool(self._stops) or self._requests.is_terminated

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
