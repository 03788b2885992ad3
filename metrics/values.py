"""Numbers among the values that trainings report in JSON and tables, where they may be text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 8  # of nested objects

_NUMBER: Final = re.compile(
    r"\s*[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)\s*",
    re.IGNORECASE | re.ASCII,
)
_INTEGER: Final = re.compile(r"\s*[-+]?\d{1,19}\s*", re.ASCII)  # of up to 64 bits


def number(value: Any) -> float | None:
    """A number, also as text; true is 1. None for anything else, and for a number too large."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:
        return None


def whole_number(value: Any) -> int | None:
    """7, 7.0, "7" and "7.0" as 7; None for anything else."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def flat(values: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """The values of nested objects, with the keys on their way joined by dots. Objects that are
    empty, or below MAX_DEPTH, stay as they are."""
    for key, value in values.items():
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            yield from flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield prefix + key, value
