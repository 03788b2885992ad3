"""A batch of metric points, in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    key: str
    step: int
    value: float  # NaN and the infinities are values
    timestamp_ms: int  # Unix time


@dataclass(frozen=True, slots=True)
class Points:
    """Point i is (distinct_keys[key_numbers[i] - 1], steps[i], timestamps_ms[i], values[i]).

    In columns, because that is how the database takes them in; a batch of a thousand points is
    never a thousand objects.
    """

    distinct_keys: list[str]
    key_numbers: list[int]  # from 1
    steps: list[int]  # 64 bits
    timestamps_ms: list[int]  # Unix time, 64 bits
    values: list[float]

    @classmethod
    def of(cls, points: Iterable[Point]) -> Points:
        rows = list(points)
        return cls.in_columns(
            [row.key for row in rows],
            [row.step for row in rows],
            [row.timestamp_ms for row in rows],
            [row.value for row in rows],
        )

    @classmethod
    def in_columns(
        cls,
        keys: Sequence[str],
        steps: list[int],
        timestamps_ms: list[int],
        values: list[float],
    ) -> Points:
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys), start=1)}
        return cls(list(numbers), [numbers[key] for key in keys], steps, timestamps_ms, values)

    def __len__(self) -> int:
        return len(self.steps)
