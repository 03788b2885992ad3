"""Checkpoints that a script declares in its metrics file.

A line ``{"checkpoint": "relative/path", "step": 300}`` says that this file or folder in
$TRAINHUB_CHECKPOINT_DIR is a complete checkpoint of that step, whatever its name. That is true of
what is there when the line is written: a file that is written again has to be declared again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from django.utils.translation import gettext as _

from core.numbers import MAX_BIGINT
from execution.executor_state import AttemptNotes
from execution.executors.attempt_files import file_time
from execution.executors.checkpoint_scan import FoundCheckpoint
from logs.lines import Line
from logs.models import LogLevel

KEY: Final = "checkpoint"
MAX_DECLARED: Final = 10_000  # per attempt
TOO_MANY: Final = "too_many_declared"  # stored in databases: do not rename


def ingest(notes: AttemptNotes, lines: Iterable[bytes], directory: Path) -> list[Line]:
    """Note in ``notes`` what ``lines`` declare; return log lines about what cannot be taken.
    ``directory``: the attempt's."""
    new = declared_in(lines)
    if not new:
        return []
    declared = notes.get("declared", {}).copy()
    taken = [path for path in new if path in declared]
    taken += [path for path in new if path not in declared][: MAX_DECLARED - len(declared)]
    notes["declared"] = declared | {path: new[path] for path in taken}
    read_at = file_time(directory)
    notes["declared_at"] = notes.get("declared_at", {}) | dict.fromkeys(taken, read_at)
    said = notes.get("said", [])
    if len(taken) == len(new) or TOO_MANY in said:
        return []
    notes["said"] = [*said, TOO_MANY]
    text = _("metrics.jsonl declares more than %(limit)d checkpoints: further ones are ignored.")
    return [Line.new(text % {"limit": MAX_DECLARED}, LogLevel.WARNING, "metrics")]


def as_declared(checkpoint: FoundCheckpoint, notes: AttemptNotes) -> FoundCheckpoint | None:
    """The checkpoint, as if it were not declared if it has been written again since; None if it has
    been ingested as it is."""
    known = notes.get("checkpoints", {}).get(checkpoint.saved_as)
    if known is None:
        return checkpoint
    declared_at = notes.get("declared_at", {}).get(checkpoint.saved_as, math.inf)
    if checkpoint.is_declared and checkpoint.modified_ns / 1e9 > declared_at:
        checkpoint = replace(checkpoint, is_declared=False, declared_step=None)
    if not is_ingested(checkpoint, known):
        return checkpoint
    # What was ingested before it was declared may have been taken for another step.
    steps = {None, *known[len(checkpoint.stamp) :]}
    return None if checkpoint.declared_step in steps else checkpoint


def is_ingested(checkpoint: FoundCheckpoint, known: list[int]) -> bool:
    """``known``: its entry in the notes, the stamp and the step."""
    return known[: len(checkpoint.stamp)] == checkpoint.stamp


def declared_in(lines: Iterable[bytes]) -> dict[str, int | None]:
    """Path → step (None if the line has none) of the checkpoints that ``lines`` declare. Ignores
    paths that lead out of the folder."""
    declared = {}
    for line in lines:
        if KEY.encode() not in line:
            continue
        try:
            row = json.loads(line)
            path = PurePosixPath(row[KEY])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        step = row.get("step")
        is_step = type(step) is int and 0 <= step <= MAX_BIGINT
        if not path.is_absolute() and ".." not in path.parts and path.parts and _is_text(str(path)):
            declared[str(path)] = step if is_step else None
    return declared


def _is_text(path: str) -> bool:
    """Whether PostgreSQL can store it in JSON."""
    return "\x00" not in path and path.isprintable()
