"""Starts one command, waits until all that descends from it has gone, and records how it ended: the
parent that outlives a worker.

Run in a session of its own, with an attempt's directory as its argument. It reads
``launch.json`` there:

- ``command``, ``environment``: what to start; the process is called the leader.
- ``moment_seconds``: how long what outlives the leader may take to end by itself, and as long
  again to end after SIGTERM, before it is killed.
- ``cgroup``: a name, to keep the processes in a cgroup if that is possible.
- ``folder``: where the training works, in the directory; absent: the directory itself.
- ``starts_in``: where the leader starts, in the directory; absent: the same.
- ``engine``: the cluster that runs it, if one does: there is then a launcher on each of its
  ``nodes``, see nodes.py. The training also gets the variables that the engine sets.
  ``grace_seconds``: how long it may take to save. ``gpus_per_node``: for torchrun.
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
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from execution.launcher import nodes, process_tree
from execution.launcher.files import (
    file_time,
    write_atomically,
    write_reserved,
    write_text_atomically,
)
from execution.launcher.nodes import Node, NodeRequests
from execution.launcher.process_tree import Cgroup, since_boot
from execution.launcher.requests import ASKED, Requests
from execution.launcher.watch import Watch

CANNOT_EXECUTE = 127  # as in shells
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RETRY_SECONDS = 1.0  # before the ending is written again
MOMENT_SECONDS = 3.0


def describe(pid: int) -> dict[str, float]:
    """Identify the process, even if its PID is reused later or the clock is changed."""
    return {"pid": pid, "since_boot": since_boot(psutil.Process(pid))}


def main() -> None:
    if sys.argv[1] == "--exit-code":
        sys.exit(nodes.exit_code(Path(sys.argv[2])))
    if sys.argv[1] == "--remote":
        from execution.launcher import remote  # needs this module

        sys.exit(remote.run(os.environ))
    launch_attempt(Path(sys.argv[1]))


def launch_attempt(attempt: Path) -> None:
    launch = json.loads((attempt / "launch.json").read_text())
    node = Node.here(attempt, launch, os.environ)
    directory = node.directory
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
    requests = Requests(attempt)
    if "engine" in launch:
        requests = NodeRequests(node, launch, os.environ)
        note_sigterm(requests)
    requests.look()
    if requests.kill:
        return
    cgroup = create_cgroup(directory, launch.get("cgroup"))
    wake_up = wake_up_at_ends()
    adopts = process_tree.adopt_orphans()
    try:
        if "engine" in launch:
            meeting = nodes.meet(node, requests)
            if meeting is None:
                record_ending(directory, never_started(directory, requests))
                return
            launch["environment"] = nodes.environment(node, launch, os.environ, meeting)
        process = start(launch, node, cgroup, umask)
    except (OSError, subprocess.SubprocessError) as error:
        with contextlib.suppress(OSError):
            (directory / "stderr.log").write_text(f"ERROR {error}\n")
        ending: dict[str, Any] = {"returncode": CANNOT_EXECUTE}
    else:
        moment = launch.get("moment_seconds", MOMENT_SECONDS)
        watch = Watch(directory, process, cgroup, adopts=adopts, moment=moment, requests=requests)
        record_leader(directory, process.pid)
        watch.run(wake_up)
        ending = watch.ending()
    requests.complete(ending)
    record_ending(directory, ending)
    requests.ended(ending)
    if cgroup is not None:
        cgroup.remove()


def note_sigterm(requests: Requests) -> None:
    """Note that an engine ends the job: it sends SIGTERM to all processes, this one included, so
    that the training has been asked."""

    def note(*_: object) -> None:
        requests.is_terminated = True

    signal.signal(signal.SIGTERM, note)


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


def never_started(directory: Path, requests: Requests) -> dict[str, Any]:
    """The ending of a command that was to stop before it was started."""
    why = requests.stop or ASKED
    return {"returncode": -signal.SIGTERM, "at": file_time(directory), "cut_off": False, why: True}


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
    launch: dict[str, Any], node: Node, cgroup: Cgroup | None, umask: int
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
        (node.directory / "stdout.log").open("ab") as stdout,
        (node.directory / "stderr.log").open("ab") as stderr,
    ):
        return subprocess.Popen(
            launch["command"],
            cwd=node.attempt / launch.get("starts_in", launch.get("folder", "")),
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
