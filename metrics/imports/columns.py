"""Collects values of any type into columns of points, and counts those that are no metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from core.times import unix_milliseconds
from metrics.points import GrowingPoints, is_key

_NUMBER: Final = re.compile(
    r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)",
    re.IGNORECASE | re.ASCII,
)


def number(value: Any) -> float | None:
    """A number, also as text; true is 1. None for anything else."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else None
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:
        return None


def whole_number(value: Any) -> int | None:
    """7, 7.0, "7" and "7.0" as 7; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,19}", value.strip(), re.ASCII):
        return int(value)
    if type(value) is int:
        return value
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


@dataclass
class Columns(GrowingPoints):
    left_out: int = 0

    def add(self, key: str, step: int, seconds: float, value: Any) -> None:
        """Add a value at a Unix time; None is no value."""
        if value is None:
            return
        found = number(value)
        if found is None or not is_key(key):
            self.left_out += 1
            return
        self.append(key, step, unix_milliseconds(seconds), found)
