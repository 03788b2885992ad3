"""Reads evaluation.json, the result that a training replaces as a whole.

A file that is not valid JSON, e.g. cut off, never replaces an earlier one that is.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.files import open_file
from core.numbers import json_number
from execution.executor_state import AttemptNotes
from execution.launcher.files import file_time
from logs.lines import Line
from logs.models import LogLevel

SOURCE: Final = "evaluation"
SETTLED_SECONDS: Final = 2.0  # an invalid file may be half written until then


@dataclass(frozen=True)
class Evaluation:
    """The file as it was found. ``content``: None if it is not valid; ``problem``: what is wrong
    with it, or had to be changed."""

    content: bytes | None
    problem: str
    modified_ns: int

    @property
    def lines(self) -> list[Line]:
        return [Line.new(self.problem, LogLevel.WARNING, SOURCE)] if self.problem else []


class _Invalid(Exception):
    """The message is for the user."""


def is_new(directory: Path, notes: AttemptNotes) -> bool:
    """Whether there is a file that was not ingested as it is now."""
    try:
        status = (directory / "evaluation.json").stat()
    except OSError:  # also a link to itself
        return False
    return stat.S_ISREG(status.st_mode) and notes.get("evaluation") != status.st_mtime_ns


def read(
    directory: Path, notes: AttemptNotes, *, ended: bool, owner: int | None = None
) -> Evaluation | None:
    """The file, if it is new and not half written. Reads it: call without a lock. ``owner``: see
    open_file."""
    if not is_new(directory, notes):
        return None
    path = directory / "evaluation.json"
    try:
        status = path.stat()
    except OSError:
        return None
    try:
        with open_file(path, owner) as file:
            content, problem = _checked(file.read())
    except (_Invalid, OSError) as error:
        is_settled = abs(file_time(directory) - status.st_mtime) > SETTLED_SECONDS
        if not (ended or is_settled):
            return None
        return Evaluation(None, f"evaluation.json is ignored: {error}", status.st_mtime_ns)
    return Evaluation(content, problem, status.st_mtime_ns)


def _checked(content: bytes) -> tuple[bytes, str]:
    """(the content as valid JSON, what had to be changed). Raises _Invalid."""
    try:
        value = json.loads(content)
        named = _with_named_numbers(value)
    except (ValueError, RecursionError) as error:
        raise _Invalid(f"not valid JSON ({error})") from None
    if not isinstance(value, dict | list):
        raise _Invalid("neither an object nor a list")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:  # JSON has no NaN: clients could not read it
        text = json.dumps(named, ensure_ascii=False, indent=2)
        problem = "evaluation.json has numbers that are not finite; they are stored as text."
        return text.encode("utf-8", errors="replace"), problem
    return content, ""


def _with_named_numbers(value: Any) -> Any:
    """``value`` with NaN and infinities as text, as everywhere in the API."""
    if isinstance(value, dict):
        return {key: _with_named_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_named_numbers(item) for item in value]
    return json_number(value) if isinstance(value, float) else value
