"""Checkpoints that a script declares in its metrics file.

A line ``{"checkpoint": "relative/path", "step": 300}`` says that this file or folder in
$TRAINHUB_CHECKPOINT_DIR is a complete checkpoint of that step, whatever its name. That is true of
what is there when the line is written: a file that is written again has to be declared again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from artifacts.layouts import MODEL
from core.numbers import MAX_BIGINT
from core.text import truncate
from execution.executor_state import AttemptNotes
from execution.executors.checkpoint_scan import Scan
from execution.executors.found_checkpoint import ROOT, FoundCheckpoint
from execution.executors.metric_lines import CHECKPOINT_NAME, STEP_NAMES, first_of
from logs.lines import Line
from logs.models import LogLevel
from metrics.values import whole_number

MAX_DECLARED: Final = 10_000  # per attempt
MAX_PATH_BYTES: Final = 1000
MAX_SECONDS: Final = 1e12  # earlier versions noted times in seconds
SHOWN: Final = 200  # characters of a path in the log
MISSING_SHOWN: Final = 10
TOO_MANY: Final = "too_many_declared"  # stored in databases, as below: do not rename
OUTSIDE: Final = "declared_outside"
NO_PATH: Final = "declared_path"


class Declaration(NamedTuple):
    path: str  # within the folder
    step: int | None


class Refusal(NamedTuple):
    """A declaration that cannot be taken: the number of its line, its path, the kind and the
    reason."""

    line: int
    path: str
    kind: str
    why: str


def ingest(
    notes: AttemptNotes,
    lines: Iterable[bytes],
    *,
    first_line: int,
    folder: Path,
    written_at_ns: int,
) -> list[Line]:
    """Note in ``notes`` what ``lines`` declare; return log lines about what cannot be taken.

    ``first_line``: the number of the first of them. ``folder``: the checkpoint folder.
    ``written_at_ns``: when the last of them was written at the latest, in Unix nanoseconds.
    """
    found = list(declared_in(lines, first_line=first_line, folder=folder))
    new = {item.path: item.step for item in found if isinstance(item, Declaration)}
    refused = {item.kind: item for item in reversed(found) if isinstance(item, Refusal)}
    declared = notes.get("declared", {}).copy()
    taken = [path for path in new if path in declared]
    taken += [path for path in new if path not in declared][: MAX_DECLARED - len(declared)]
    if taken:
        notes["declared"] = declared | {path: new[path] for path in taken}
        notes["declared_at"] = notes.get("declared_at", {}) | dict.fromkeys(taken, written_at_ns)
    texts = {kind: _text_of(item) for kind, item in refused.items()}
    if len(taken) < len(new):
        texts[TOO_MANY] = (
            f"metrics.jsonl declares more than {MAX_DECLARED} checkpoints: further ones are "
            "ignored."
        )
    said = notes.get("said", [])
    unsaid = {kind: text for kind, text in texts.items() if kind not in said}
    if unsaid:
        notes["said"] = [*said, *unsaid]
    return [Line.new(text, LogLevel.WARNING, "metrics") for text in unsaid.values()]


def _text_of(refusal: Refusal) -> str:
    subject = truncate(refusal.path, SHOWN)
    return f"metrics.jsonl, line {refusal.line}: {subject}: {refusal.why}"


def missing(notes: AttemptNotes, found: Scan) -> list[str]:
    """What to say of checkpoints that were declared and were never there to be stored."""
    known = {*notes.get("checkpoints", {}), *(item.saved_as for item in found.checkpoints)}
    absent = [path for path in notes.get("declared", {}) if path not in known]
    if not absent:
        return []
    shown = ", ".join(truncate(path, SHOWN) for path in absent[:MISSING_SHOWN])
    return [f"{len(absent)} declared checkpoints were not in the checkpoint folder: {shown}."]


def as_declared(checkpoint: FoundCheckpoint, notes: AttemptNotes) -> FoundCheckpoint | None:
    """The checkpoint, as if it were not declared if it has been written again since; None if it has
    been ingested as it is."""
    declared_at_ns = notes.get("declared_at", {}).get(checkpoint.saved_as)
    if declared_at_ns is not None and declared_at_ns < MAX_SECONDS:
        declared_at_ns = (declared_at_ns + 1) * 1e9  # of an earlier version
    if declared_at_ns is not None and checkpoint.modified_ns > declared_at_ns:
        checkpoint = replace(checkpoint, is_declared=False, declared_step=None)
    known = known_of(checkpoint, notes)
    if known is None or not is_ingested(checkpoint, known):
        return checkpoint
    # What was ingested before it was declared may have been taken for another step, or damaged.
    is_known = checkpoint.declared_step in {None, step_of(known)} and _was_declared(known)
    return None if is_known or not checkpoint.is_declared else checkpoint


def known_of(checkpoint: FoundCheckpoint, notes: AttemptNotes) -> list[int] | None:
    """Its entry in the notes, if it was ingested before."""
    known = notes.get("checkpoints", {})
    if checkpoint.saved_as == ROOT and ROOT not in known:  # as earlier versions noted it
        return known.get(MODEL)
    return known.get(checkpoint.saved_as)


def is_ingested(checkpoint: FoundCheckpoint, known: list[int]) -> bool:
    """``known``: its entry in the notes."""
    return known[: len(checkpoint.stamp)] == checkpoint.stamp


def step_of(known: list[int] | None) -> int | None:
    """The step in an entry of the notes; None if there is none."""
    return known[3] if known is not None and len(known) > 3 else None


def _was_declared(known: list[int]) -> bool:
    return len(known) > 4 and bool(known[4])


def entry(checkpoint: FoundCheckpoint, step: int) -> list[int]:
    """What the notes know of a checkpoint that is ingested."""
    return [*checkpoint.stamp, step, int(checkpoint.is_declared)]


def declared_in(
    lines: Iterable[bytes], *, first_line: int, folder: Path
) -> Iterator[Declaration | Refusal]:
    """What ``lines`` declare, in their order."""
    for number, line in enumerate(lines, first_line):
        if CHECKPOINT_NAME.encode() not in line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        path = row.get(CHECKPOINT_NAME) if isinstance(row, dict) else None
        if isinstance(path, str):
            yield _declaration(row, path, number, folder)


def _declaration(
    row: dict[str, Any], path: str, number: int, folder: Path
) -> Declaration | Refusal:
    if not _is_name(path):
        return Refusal(number, path, NO_PATH, "not the path of a checkpoint")
    relative = _within(PurePosixPath(path), folder)
    if relative is None:
        return Refusal(number, path, OUTSIDE, "it is not in the checkpoint folder")
    if not relative.parts:
        why = "a checkpoint must be a file or a folder in the checkpoint folder"
        return Refusal(number, path, NO_PATH, why)
    name = first_of(row, STEP_NAMES)
    step = None if name is None else whole_number(row[name])
    is_step = step is not None and 0 <= step <= MAX_BIGINT
    return Declaration(str(relative), step if is_step else None)


def _is_name(path: str) -> bool:
    """Whether it can be the name of a file, and PostgreSQL can store it in JSON."""
    try:
        return 0 < len(path.encode()) <= MAX_PATH_BYTES and "\x00" not in path
    except UnicodeEncodeError:
        return False


def _within(path: PurePosixPath, folder: Path) -> PurePosixPath | None:
    """``path``, which may be absolute, relative to ``folder``; None if it is not in it."""
    if ".." in path.parts:
        return None
    if not path.is_absolute():
        return path
    for base in (str(folder), os.path.realpath(folder)):
        if path.is_relative_to(base):
            return path.relative_to(base)
    return None
