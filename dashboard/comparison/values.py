"""Values of runs side by side: when two are the same, and how far apart two numbers are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

import orjson

from metrics.values import flat
from metrics.values import number as read_number


class Missing(Enum):
    MISSING = "missing"


# Of a run that does not have the value, which is another thing than null.
MISSING: Final = Missing.MISSING

# Positive numbers this far apart are told as a factor, others as a difference.
FACTOR: Final = 1.5


def number_of(value: Any) -> float | None:
    """A finite number, also as the text that MLflow's clients make of it; None for others."""
    if isinstance(value, bool):
        return None
    number = read_number(value)
    return number if number is not None and math.isfinite(number) else None


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"optimizer": {"lr": 1}}`` as ``{"optimizer.lr": 1}``; a text that is a JSON object is
    opened like an object. By name."""
    return dict(sorted(flat({name: _opened(value) for name, value in values.items()})))


def _opened(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return found if isinstance(found, dict) else value
    return value


def same(one: Any, other: Any) -> bool:
    """Whether the two are equal: numbers by value, also as text, so that 3e-4 is "0.0003"."""
    if one is MISSING or other is MISSING:
        return one is other
    numbers = number_of(one), number_of(other)
    if numbers[0] is not None or numbers[1] is not None:
        return numbers[0] == numbers[1]
    return text_of(one) == text_of(other)


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON with sorted keys."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


@dataclass(frozen=True, slots=True)
class Delta:
    """How far a number is from the baseline's: ``value`` is the factor or the difference.

    ``share``: the difference as a share of the baseline's absolute value; None of zero.
    """

    kind: Literal["factor", "difference"]
    value: float
    share: float | None


def difference(value: Any, baseline: Any) -> Delta | None:
    """The distance of two numbers as a difference; None if they are equal or one is no number."""
    numbers = number_of(value), number_of(baseline)
    if numbers[0] is None or numbers[1] is None or numbers[0] == numbers[1]:
        return None
    distance = numbers[0] - numbers[1]
    if not math.isfinite(distance):
        return None
    share = distance / abs(numbers[1]) if numbers[1] else None
    return Delta("difference", distance, share if share is None or math.isfinite(share) else None)


def delta(value: Any, baseline: Any) -> Delta | None:
    """Like ``difference``, but as a factor where both are positive and FACTOR or more apart."""
    found = difference(value, baseline)
    if found is None:
        return None
    one, base = number_of(value) or 0.0, number_of(baseline) or 0.0
    if one > 0 and base > 0:
        factor = one / base
        if math.isfinite(factor) and factor > 0 and max(factor, 1 / factor) >= FACTOR:
            return Delta("factor", factor, found.share)
    return found
