"""Starts one command, waits for its end and records both: the parent that outlives a worker.

Run as a program in its own session: ``python launcher.py ATTEMPT_DIRECTORY``. It reads
``launch.json`` there ({"command": [...], "environment": {...}}), writes ``launcher.json`` and
``process.json`` ({"pid", "since_boot"} of itself and of the command) and finally ``exit.json``
({"returncode"}: negative for a signal, as in subprocess). A second launcher for the same directory
does nothing; if the directory has a file ``killed``, the launcher does not start the command.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

CANNOT_EXECUTE = 127  # as in shells
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def write_atomically(path: Path, content: object) -> None:
    """Write JSON so that a reader finds all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def describe(pid: int) -> dict[str, float]:
    """Identify the process, even if its PID is reused later or the clock is changed."""
    return {"pid": pid, "since_boot": since_boot(psutil.Process(pid))}


def since_boot(process: psutil.Process) -> float:
    """When the process started, in seconds since the machine's boot."""
    return process.create_time() - psutil.boot_time()


def main(directory: Path) -> None:
    lock = (directory / "launcher.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if (directory / "launcher.json").exists():
        return
    # Ignore signals: they are meant for the training and are sent to its process ID.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # In this order: Attempt.kill writes ``killed`` first and then looks for the launcher.
    write_atomically(directory / "launcher.json", describe(os.getpid()))
    if (directory / "killed").exists():
        return
    launch = json.loads((directory / "launch.json").read_text())
    try:
        process = start(launch["command"], launch["environment"], directory)
    except OSError as error:
        (directory / "stderr.log").write_text(f"ERROR {error}\n")
        write_atomically(directory / "exit.json", {"returncode": CANNOT_EXECUTE})
        return
    write_atomically(directory / "process.json", describe(process.pid))
    write_atomically(directory / "exit.json", {"returncode": process.wait()})


def start(
    command: list[str], environment: dict[str, str], directory: Path
) -> "subprocess.Popen[bytes]":
    """Start the training in its own session, so that a terminal's Ctrl-C does not reach it."""
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
    """Restore the default handlers: an ignored signal would stay ignored across exec."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
