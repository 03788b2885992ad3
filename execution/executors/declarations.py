"""Checkpoints that a script declares in its metrics file.

A line ``{"checkpoint": "relative/path", "step": 300}`` says that this file or folder in
$TRAINHUB_CHECKPOINT_DIR is a complete checkpoint of that step, whatever its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from core.numbers import MAX_BIGINT

KEY: Final = "checkpoint"
MAX_DECLARED: Final = 10_000  # per attempt


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
