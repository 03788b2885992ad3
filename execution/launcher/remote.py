"""A launcher on a node that shares no directory with the worker: ``--remote``.

It gets what to start from the server, starts the launcher on a directory of this node, and mirrors
that directory (mirror.py) until everything is sent. It and the launcher are processes of their own:
if this one is killed, whoever started it starts it again, and it goes on; if nobody does, the
launcher ends the training, as nobody could hear of it. The variables that it reads:

- TRAINHUB_ATTEMPT_URL, TRAINHUB_ATTEMPT_TOKEN: see hub.py.
- TRAINHUB_NODE_RANK: which node this is. TRAINHUB_NODE_ADDRESS: how the others reach it.
- TRAINHUB_NODE_DIR: where attempts are kept on this node.
- TRAINHUB_MODULES: a folder of Python modules to add, for psutil.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from execution.launcher import files, process_tree
from execution.launcher.hub import REFUSED_SECONDS, Away, Hub, Refused, Rejected, Unauthorized
from execution.launcher.mirror import CHUNK_BYTES, Mirror, final, read_note
from execution.launcher.nodes import MIRROR_ALIVE, Node, folder_of, prepare
from execution.launcher.program import CANNOT_EXECUTE

PLACE: Final = "{attempt}"  # in commands and variables: the attempt's directory
PYTHON: Final = "{python}"
RETRY_SECONDS: Final = 2.0
LIFE_SECONDS: Final = 5.0  # between two signs of life to the launcher
BEGIN_SECONDS: Final = 30.0  # for a launcher to begin
END_SECONDS: Final = 20.0  # for a launcher that is to kill its training
LOCK: Final = "agent.lock"
ABANDONED_SECONDS: Final = 7 * 86_400.0  # of an attempt whose agent is gone
REJECTED: Final = 76  # EX_PROTOCOL of sysexits.h
OWN_VARIABLES: Final = ("TRAINHUB_ATTEMPT_URL", "TRAINHUB_ATTEMPT_TOKEN", "TRAINHUB_JOB")


def run(environ: Mapping[str, str]) -> int:
    """Returns the exit code: that of the training, 0 for one that was refused, REJECTED for one
    whose launcher the server does not understand."""
    hub = Hub(environ["TRAINHUB_ATTEMPT_URL"], environ.get("TRAINHUB_ATTEMPT_TOKEN", ""))
    rank = int(environ.get("TRAINHUB_NODE_RANK", "0"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server says what is to be done
    root = Path(environ["TRAINHUB_NODE_DIR"]) / _name_of(hub.url, rank)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(root.parent, but=root)
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        attempt = root / "attempt"
        try:
            _prepare(attempt, hub, rank)
            _launch(attempt, environ, rank)
            is_all_sent = _mirror(attempt, hub, rank)
        except (Refused, Rejected) as refusal:
            print(f"the server takes nothing of this attempt: {refusal}", flush=True)  # noqa: T201
            _end(attempt)
            is_over = isinstance(refusal, Refused)
            code, is_needed = (0, False) if is_over else (REJECTED, attempt.exists())
        else:
            code, is_needed = _exit_code(attempt, rank), not is_all_sent
        if is_needed:  # for a person: ``sweep`` deletes it a week later
            os.utime(root / LOCK)
        else:
            shutil.rmtree(root, ignore_errors=True)
    return code


def _name_of(url: str, rank: int) -> str:
    """A folder's name, different for each attempt of each server and each node."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    _base, _runs, tail = url.rpartition("/runs/")
    return f"{tail.replace('/', '-')}-{rank}-{digest}"


def sweep(folder: Path, *, but: Path) -> None:
    """Delete what agents that were killed have left on this node, a week later."""
    for lock in folder.glob(f"*/{LOCK}"):
        with contextlib.suppress(OSError):
            is_old = time.time() - lock.stat().st_mtime > ABANDONED_SECONDS
            if lock.parent == but or not is_old:
                continue
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody's
                shutil.rmtree(lock.parent, ignore_errors=True)


# --- what it starts with ---------------------------------------------------------------------


def _prepare(attempt: Path, hub: Hub, rank: int) -> None:
    """Create the attempt's directory, whole or not at all. Waits for the server. Raises Refused,
    Rejected."""
    refused_since: float | None = None
    while not attempt.exists():
        try:
            _fetch(attempt, hub, rank)
        except (Unauthorized, Rejected) as error:
            refused_since = refused_since or time.monotonic()
            if time.monotonic() - refused_since > REFUSED_SECONDS:
                raise final(error) from None
            time.sleep(RETRY_SECONDS)
        except (Away, OSError, ValueError) as error:
            print(f"cannot start yet: {error}", flush=True)  # noqa: T201
            time.sleep(RETRY_SECONDS)


def _fetch(attempt: Path, hub: Hub, rank: int) -> None:
    start = hub.start()
    archive = attempt.with_name("start.tar")
    _download(archive, hub, int(start["size"]), str(start["sha256"]))
    draft = attempt.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    with tarfile.open(archive) as tar:
        tar.extractall(draft, filter="data")
    archive.unlink()
    (draft / "checkpoints").mkdir(exist_ok=True)
    files.write_atomically(draft / "launch.json", placed(dict(start["launch"]), attempt))
    files.write_atomically(draft / "mirror.json", {"launcher": uuid.uuid4().hex})
    for name in ("stop-sent", "killed"):
        files.reserve(draft / name, size_bytes=0)
    prepare(folder_of(draft, rank))
    draft.rename(attempt)


def _download(archive: Path, hub: Hub, size: int, sha256: str) -> None:
    """Goes on where an earlier one was cut off. Raises Refused, Away, ValueError."""
    with archive.open("ab") as file:
        while (offset := file.tell()) < size:
            file.write(hub.start_bytes(offset, min(size, offset + CHUNK_BYTES)))
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        archive.unlink()
        raise ValueError("what it starts with was damaged on its way")


def placed(launch: dict[str, Any], attempt: Path) -> dict[str, Any]:
    """The description with the paths of this node."""

    def fill(text: str) -> str:
        return text.replace(PLACE, str(attempt)).replace(PYTHON, sys.executable)

    return {
        **launch,
        "command": [fill(part) for part in launch["command"]],
        "environment": {name: fill(text) for name, text in launch["environment"].items()},
    }


# --- the launcher ----------------------------------------------------------------------------


def _launch(attempt: Path, environ: Mapping[str, str], rank: int) -> None:
    """Start the launcher, unless there has been one."""
    folder = folder_of(attempt, rank)
    if (folder / "launcher.json").exists():
        return
    own = {name: text for name, text in environ.items() if name not in OWN_VARIABLES}
    own["TRAINHUB_NODE_RANK"] = str(rank)
    (attempt / MIRROR_ALIVE).touch(0o600)
    with (folder / "launcher.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-I", sys.argv[0], str(attempt)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=own,
        )


def _mirror(attempt: Path, hub: Hub, rank: int) -> bool:
    """Until all is sent that the server takes; whether that was all. Raises Refused, Rejected."""
    node = Node(attempt, rank, int(read_note(attempt / "launch.json").get("nodes", 1)))
    threading.Thread(target=_show_life, args=(attempt,), daemon=True).start()
    ended = partial(_has_ended, node, time.monotonic())
    mirror = Mirror(node, hub, str(read_note(attempt / "mirror.json")["launcher"]))
    mirror.run(ended)
    return mirror.unsent.is_empty


def _show_life(attempt: Path) -> None:
    while True:
        with contextlib.suppress(OSError):
            os.utime(attempt / MIRROR_ALIVE)
        time.sleep(LIFE_SECONDS)


def _has_ended(node: Node, since: float) -> bool:
    """Whether the launcher has told the end; if it cannot any more, that is told in its place.
    ``since``: when this began to wait for it, in monotonic seconds."""
    if (node.directory / "exit.json").exists():
        return True
    with contextlib.suppress(ChildProcessError):  # of an earlier agent: not a child of this one
        os.waitpid(-1, os.WNOHANG)
    note = read_note(node.directory / "launcher.json")
    if note is None:
        if time.monotonic() - since > BEGIN_SECONDS:
            _record_no_start(node)
    elif process_tree.find(int(note["pid"]), note["since_boot"]) is None:
        _record_loss(node)
    return (node.directory / "exit.json").exists()


def _record_no_start(node: Node) -> None:
    with contextlib.suppress(OSError):
        log = (node.directory / "launcher.log").read_text(errors="replace")
        (node.directory / "stderr.log").write_text(f"ERROR the launcher cannot start: {log}\n")
        ending = {"returncode": CANNOT_EXECUTE, "at": files.file_time(node.attempt)}
        files.write_atomically(node.directory / "exit.json", ending)


def _record_loss(node: Node) -> None:
    """The launcher was killed and cannot tell the end."""
    if (node.directory / "exit.json").exists():
        return  # just now
    _kill_leftovers(node)
    ending = {"returncode": -signal.SIGKILL, "at": files.file_time(node.attempt), "cut_off": True}
    with contextlib.suppress(OSError):
        files.write_atomically(node.directory / "exit.json", {**ending, "launcher_lost": True})


def _kill_leftovers(node: Node) -> None:
    leader = read_note(node.directory / "process.json")
    found = [tuple(item) for item in read_note(node.directory / "descendants.json") or []]
    if leader is not None:
        found.append((leader["pid"], leader["since_boot"]))
    for pid, since_boot in found:
        process = process_tree.find(int(pid), since_boot)
        if process is not None:
            for item in [*process_tree.descendants(process), process]:
                process_tree.send(item, signal.SIGKILL)


def _end(attempt: Path) -> None:
    """End the training: nobody takes what it reports."""
    if not attempt.exists():
        return
    with contextlib.suppress(OSError):
        files.raise_flag(attempt / "killed")
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        notes = [read_note(path) for path in attempt.glob("**/launcher.json")]
        alive = [
            note
            for note in notes
            if note and process_tree.find(int(note["pid"]), note["since_boot"]) is not None
        ]
        if not alive:
            return
        time.sleep(0.1)


def _exit_code(attempt: Path, rank: int) -> int:
    note = read_note(folder_of(attempt, rank) / "exit.json") or {"returncode": 1}
    code = int(note["returncode"])
    return code if code >= 0 else 128 - code
