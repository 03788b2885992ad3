"""Collects values of any type into columns of points, and counts those that are no metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.times import unix_milliseconds
from metrics.points import GrowingPoints, is_key
from metrics.values import number


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
