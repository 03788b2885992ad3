"""How an attempt on several nodes has ended, by what their launchers have written."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Final

from core.messages import Message, dumps, loads
from execution.executors.attempt import Attempt, Cause, Ending
from execution.launcher import files
from execution.launcher.nodes import NODE_FAILED
from runs.models import FailureKind

Exits = dict[int, dict[str, Any]]
TIME_LIMIT: Final = Cause(
    FailureKind.TIME_LIMIT,
    Message("The time limit of its job was reached: it goes on in a new one."),
    is_interruption=True,
)


def exits_of(attempt: Attempt) -> Exits:
    """What the launchers have said of the end, by the rank of their node."""
    exits = {}
    for rank in range(attempt.node_count):
        folder = attempt.node_folder(rank)
        with contextlib.suppress(OSError):
            os.listdir(folder)  # asks a file server anew: see nodes.py
        note = files.read(folder / "exit.json")
        if note is not None:
            exits[rank] = note
    return exits


def ending_of(attempt: Attempt, exits: Exits, cause: Cause | None, at: float | None) -> Ending:
    """``at``: when the files were last written, if some launcher has not said it."""
    cut_off = [note["at"] for note in exits.values() if note.get("cut_off")]
    disk_full = any(note.get("disk_full") for note in exits.values())
    if len(exits) < attempt.node_count:
        at = min([*cut_off, *([] if at is None else [at])])
        return Ending(None, at, True, disk_full, cause=cause)
    node = _first_failed(attempt)
    told = exits[node]
    at = min(cut_off) if cut_off else told.get("at", time.time())
    code = None if told.get("launcher_lost") else int(told["returncode"])
    return Ending(code, at, bool(cut_off), disk_full, node, cause)


def decide(attempt: Attempt, note: Path, cause: Cause, exits: Exits) -> Ending:
    """End the attempt for this ``cause``, and write it down: what a cluster says of it changes, and
    it forgets."""
    at = attempt.last_modified()
    content = {
        "kind": str(cause.kind),
        "reason": dumps(cause.reason),
        "is_interruption": cause.is_interruption,
        "at": at,
    }
    files.write_atomically(note, content)
    return ending_of(attempt, exits, cause, at)


def decided(attempt: Attempt, note: Path, exits: Exits) -> Ending | None:
    """What ``decide`` has written down before."""
    known = files.read(note)
    if known is None:
        return None
    cause = Cause(known["kind"], loads(known["reason"]), known["is_interruption"])
    return ending_of(attempt, exits, cause, known["at"])


def _first_failed(attempt: Attempt) -> int:
    failed = files.read(attempt.directory / NODE_FAILED)
    return 0 if failed is None else int(failed["node"])
