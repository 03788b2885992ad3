"""A batch of metric points, in columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from core.text import MAX_KEY_LENGTH, UNSTORABLE


class InvalidPoint(Exception):
    """A point of a batch is invalid: its index, from 0, and the reason, to be shown to users."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Point:
    key: str
    step: int
    value: float  # may be NaN or infinite
    timestamp_ms: int  # Unix time


@dataclass(frozen=True, slots=True)
class Points:
    """Point i is (distinct_keys[key_numbers[i] - 1], steps[i], timestamps_ms[i], values[i]).

    In columns, as the database expects them: a batch of a thousand points never becomes a thousand
    objects.
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

    @classmethod
    def checked(
        cls,
        keys: Sequence[str],
        steps: list[int],
        timestamps_ms: list[int],
        values: list[float],
    ) -> Points:
        """Like ``in_columns``, for points that a client sent. Raises InvalidPoint."""
        points = cls.in_columns(keys, steps, timestamps_ms, values)
        for key in points.distinct_keys:
            if not is_key(key):
                raise InvalidPoint(keys.index(key), invalid_key())
        return points

    @classmethod
    def joined(cls, batches: Iterable[Points]) -> Points:
        """The points of all ``batches``, one after another."""
        joined, numbers = cls([], [], [], [], []), dict[str, int]()
        for batch in batches:
            own = [numbers.setdefault(key, len(numbers) + 1) for key in batch.distinct_keys]
            joined.key_numbers.extend([own[number - 1] for number in batch.key_numbers])
            joined.steps.extend(batch.steps)
            joined.timestamps_ms.extend(batch.timestamps_ms)
            joined.values.extend(batch.values)
        joined.distinct_keys.extend(numbers)
        return joined

    def are_distinct(self) -> bool:
        """Whether no two points have the same metric, step and time."""
        steps = set(zip(self.key_numbers, self.steps, strict=True))
        if len(steps) == len(self):  # nearly always
            return True
        places = set(zip(self.key_numbers, self.steps, self.timestamps_ms, strict=True))
        return len(places) == len(self)

    def __len__(self) -> int:
        return len(self.steps)


@dataclass
class GrowingPoints:
    """Points in columns, as a reader of a file collects them."""

    keys: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def append(self, key: str, step: int, timestamp_ms: int, value: float) -> None:
        self.keys.append(key)
        self.steps.append(step)
        self.timestamps_ms.append(timestamp_ms)
        self.values.append(value)

    def extend(self, others: GrowingPoints) -> None:
        self.keys += others.keys
        self.steps += others.steps
        self.timestamps_ms += others.timestamps_ms
        self.values += others.values

    def keep(self, numbers: list[int]) -> None:
        """Drop all others than these, which count from 0."""
        self.keys = [self.keys[number] for number in numbers]
        self.steps = [self.steps[number] for number in numbers]
        self.timestamps_ms = [self.timestamps_ms[number] for number in numbers]
        self.values = [self.values[number] for number in numbers]

    def keep_keys(self, is_kept: Callable[[str], bool]) -> list[str]:
        """Drop the points of all other keys; return these keys."""
        dropped = {key for key in dict.fromkeys(self.keys) if not is_kept(key)}
        if dropped:
            self.keep([number for number, key in enumerate(self.keys) if key not in dropped])
        return sorted(dropped)

    @property
    def points(self) -> Points:
        return Points.in_columns(self.keys, self.steps, self.timestamps_ms, self.values)

    def __len__(self) -> int:
        return len(self.keys)


def invalid_key() -> str:
    """What is wrong with a key that is none, to be shown to users."""
    text = _("A key must have 1 to %(limit)d characters and no NUL.")
    return text % {"limit": MAX_KEY_LENGTH}


def is_key(text: str) -> bool:
    """Whether ``text`` is a valid metric key."""
    return 1 <= len(text) <= MAX_KEY_LENGTH and UNSTORABLE.search(text) is None
