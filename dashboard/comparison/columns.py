"""The columns that parallel coordinates and scatter plots are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dashboard.comparison.values import MISSING, number_of, same, text_of
from metrics.values import number as read_number

MAX_TEXT: Final = 200  # characters of a text on an axis
FAR_APART: Final = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A value of each run. Numbers are None where a run has none, texts are empty.

    ``id`` is its name in the address, such as ``params.lr``; ``group`` is its subject.
    """

    id: str
    label: str
    group: str
    kind: Literal["number", "text"]
    values: tuple[float | str | None, ...]

    @property
    def distinct(self) -> int:
        """How many values there are, missing ones counted as one."""
        return len(set(self.values))

    @property
    def has_one_value(self) -> bool:
        """Whether all values are the same but for missing ones."""
        return len({value for value in self.values if value not in (None, "")}) == 1

    @property
    def differs(self) -> bool:
        return self.distinct > 1

    @property
    def is_positive(self) -> bool:
        """Whether it can have a logarithmic scale."""
        numbers = [value for value in self.values if isinstance(value, (int, float))]
        return self.kind == "number" and bool(numbers) and min(numbers) > 0

    @property
    def spans_scales(self) -> bool:
        """Whether a logarithmic scale shows it better: the extremes are a factor of 8 apart, as of
        batch sizes from 16 to 128."""
        numbers = [value for value in self.values if isinstance(value, (int, float))]
        return self.is_positive and max(numbers) / FAR_APART >= min(numbers)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "label": self.label,
            "kind": self.kind,
            "log": self.spans_scales,
            "values": self.values,
        }


def column(id_: str, label: str, group: str, values: Sequence[Any]) -> Column:
    """A column of numbers if every value that there is is one, otherwise of texts. NaN and
    infinities have no place on an axis: they are missing."""
    numbers = [number_of(value) for value in values]
    if all(
        number is not None or value is MISSING or value is None or _is_not_finite(value)
        for number, value in zip(numbers, values, strict=True)
    ) and any(number is not None for number in numbers):
        return Column(id_, label, group, "number", tuple(numbers))
    return Column(id_, label, group, "text", tuple(_text(value) for value in values))


def _is_not_finite(value: Any) -> bool:
    number = read_number(value)
    return number is not None and not math.isfinite(number)


def columns_of(group: str, prefix: str, runs: Sequence[Mapping[str, Any]]) -> list[Column]:
    """A column for every name that any of the ``runs`` has, in the order in which they come."""
    names = dict.fromkeys(name for values in runs for name in values)
    return [
        column(f"{prefix}{name}", name, group, [values.get(name, MISSING) for values in runs])
        for name in names
    ]


def grouped(values: Sequence[Any]) -> list[tuple[Any, list[int]]]:
    """The places of the runs that have the same value, numbers in order, then texts."""
    groups: list[tuple[Any, list[int]]] = []
    for place, value in enumerate(values):
        for known, places in groups:
            if same(known, value):
                places.append(place)
                break
        else:
            groups.append((value, [place]))
    return sorted(groups, key=lambda group: _order(group[0]))


def _order(value: Any) -> tuple[bool, bool, float, str]:
    number = number_of(value)
    return (value is MISSING, number is None, number or 0.0, _text(value))


def _text(value: Any) -> str:
    return "" if value is MISSING or value is None else text_of(value)[:MAX_TEXT]
