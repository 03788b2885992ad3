"""Starts one command, waits for its end and writes both down: the parent that outlives a worker.

Run as a program of its own session: ``python launcher.py ATTEMPT_DIRECTORY``. It reads
``launch.json`` there ({"command": [...], "environment": {...}}) and writes ``process.json``
({"pid", "created"}) and at last ``exit.json`` ({"returncode"}: negative for a signal, as
subprocess has it). Started twice for one directory, the second does nothing.
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


def write_whole(path: Path, content: object) -> None:
    """So that a reader finds all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def main(directory: Path) -> None:
    lock = (directory / "launcher.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if (directory / "process.json").exists() or (directory / "exit.json").exists():
        return
    # Signals are for the training; it is told by its own process id.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    launch = json.loads((directory / "launch.json").read_text())
    try:
        process = start(launch, directory)
    except OSError as error:
        (directory / "stderr.log").write_text(f"ERROR {error}\n")
        write_whole(directory / "exit.json", {"returncode": CANNOT_EXECUTE})
        return
    created = psutil.Process(process.pid).create_time()
    write_whole(directory / "process.json", {"pid": process.pid, "created": created})
    write_whole(directory / "exit.json", {"returncode": process.wait()})


def start(launch: dict[str, object], directory: Path) -> "subprocess.Popen[bytes]":
    """The training, in a session of its own so that all of its processes can be ended at once."""
    command = launch["command"]
    environment = launch["environment"]
    assert isinstance(command, list) and isinstance(environment, dict)
    with (directory / "stdout.log").open("ab") as stdout, (directory / "stderr.log").open("ab") as stderr:
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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
