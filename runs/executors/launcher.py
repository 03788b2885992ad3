"""Starts one command, waits for its end and writes both down: the parent that outlives a worker.

Run as a program of its own session: ``python launcher.py ATTEMPT_DIRECTORY``. It reads
``launch.json`` there ({"command": [...], "environment": {...}}), writes ``launcher.json`` and
``process.json`` ({"pid", "since_boot"}: itself and the command) and at last ``exit.json``
({"returncode"}: negative for a signal, as subprocess has it). Started twice for one directory, the
second does nothing; with a file ``killed`` there, it starts nothing.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

CANNOT_EXECUTE = 127  # as shells have it
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def write_whole(path: Path, content: object) -> None:
    """So that a reader finds all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def describe(pid: int) -> dict[str, float]:
    """What tells this process from a later one of the same number, even if the clock is set."""
    return {"pid": pid, "since_boot": since_boot(psutil.Process(pid))}


def since_boot(process: psutil.Process) -> float:
    """When the process began, in seconds after the start of the machine."""
    return process.create_time() - psutil.boot_time()


def main(directory: Path) -> None:
    lock = (directory / "launcher.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if (directory / "launcher.json").exists():
        return
    # Signals are for the training; it is told by its own process id.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # In this order: who kills an attempt writes ``killed`` and then looks for its launcher.
    write_whole(directory / "launcher.json", describe(os.getpid()))
    if (directory / "killed").exists():
        return
    launch = json.loads((directory / "launch.json").read_text())
    try:
        process = start(launch["command"], launch["environment"], directory)
    except OSError as error:
        (directory / "stderr.log").write_text(f"ERROR {error}\n")
        write_whole(directory / "exit.json", {"returncode": CANNOT_EXECUTE})
        return
    write_whole(directory / "process.json", describe(process.pid))
    write_whole(directory / "exit.json", {"returncode": process.wait()})


def start(
    command: list[str], environment: dict[str, str], directory: Path
) -> "subprocess.Popen[bytes]":
    """The training, in a session of its own: a terminal's Ctrl-C does not reach it."""
    with (
        (directory / "stdout.log").open("ab") as stdout,
        (directory / "stderr.log").open("ab") as stderr,
    ):
        return subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=default_signals,
        )


def default_signals() -> None:
    """An ignored signal stays ignored across exec: give the training its own again."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
