"""The table of metrics: a row for each metric and statistic, a cell for each run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dashboard.comparison.values import Delta, difference
from metrics.goals import Direction


class Stat(StrEnum):
    LAST = "last"
    MINIMUM = "min"
    MAXIMUM = "max"
    BEST = "best"


class Summarized(Protocol):
    """What metrics.reading.RunMetric tells of a metric of a run."""

    @property
    def minimum(self) -> float | None: ...
    @property
    def minimum_step(self) -> int | None: ...
    @property
    def maximum(self) -> float | None: ...
    @property
    def maximum_step(self) -> int | None: ...
    @property
    def last_value(self) -> float: ...
    @property
    def last_step(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """``value`` is None if the run does not have the metric. ``delta``: from the baseline's.

    ``is_best``: no other run has a better one, and some have a worse one. ``is_better``: than the
    baseline; None if they are equal or neither is better.
    """

    value: float | None
    step: int | None = None
    is_best: bool = False
    delta: Delta | None = None
    is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A statistic of a metric, of every run."""

    key: str
    stat: Stat
    direction: Direction | None
    cells: tuple[Cell, ...]


def value_at(
    metric: Summarized | None, stat: Stat, direction: Direction | None
) -> tuple[float | None, int | None]:
    """The value and its step. The best of a metric without a direction is its last."""
    if metric is None:
        return None, None
    if stat is Stat.MINIMUM or (stat is Stat.BEST and direction is Direction.LOWER):
        return metric.minimum, metric.minimum_step
    if stat is Stat.MAXIMUM or (stat is Stat.BEST and direction is Direction.HIGHER):
        return metric.maximum, metric.maximum_step
    return metric.last_value, metric.last_step


def summary_row(
    key: str,
    stat: Stat,
    metrics: Sequence[Summarized | None],
    *,
    direction: Direction | None,
    baseline: int,
) -> Row:
    """``metrics``: one a run; ``baseline``: the place of the run that others are shown against."""
    found = [value_at(metric, stat, direction) for metric in metrics]
    values = [value for value, _step in found]
    best = _best(values, direction) if stat in {Stat.LAST, Stat.BEST} else None
    return Row(
        key,
        stat,
        direction,
        tuple(
            Cell(
                value,
                step,
                is_best=best is not None and value == best,
                delta=None if place == baseline else difference(value, values[baseline]),
                is_better=_is_better(value, values[baseline], direction),
            )
            for place, (value, step) in enumerate(found)
        ),
    )


def ranked(cells: Sequence[Cell], *, descending: bool) -> list[int]:
    """The places of the cells by their values; those without a finite value are last."""
    places = range(len(cells))
    known = [place for place in places if _is_finite(cells[place].value)]
    unknown = [place for place in places if not _is_finite(cells[place].value)]
    return [
        *sorted(known, key=lambda place: cells[place].value or 0.0, reverse=descending),
        *unknown,
    ]


def _best(values: Sequence[float | None], direction: Direction | None) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if direction is None or len(known) < 2 or min(known) == max(known):
        return None
    return min(known) if direction is Direction.LOWER else max(known)


def _is_better(
    value: float | None, baseline: float | None, direction: Direction | None
) -> bool | None:
    found = difference(value, baseline)
    if direction is None or found is None:
        return None
    return (found.value < 0) is (direction is Direction.LOWER)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
