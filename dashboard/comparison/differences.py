"""The table of what differs between runs: rows of names, a cell for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.comparison.values import MISSING, Delta, delta, same


@dataclass(frozen=True, slots=True)
class Cell:
    """``delta``: from the baseline's value, of numbers that differ from it."""

    value: Any
    is_baseline: bool
    equals_baseline: bool
    delta: Delta | None = None

    @property
    def is_missing(self) -> bool:
        return self.value is MISSING


@dataclass(frozen=True, slots=True)
class Row:
    """``cells`` are in the order of the runs; they are all the same unless ``differs``."""

    name: str
    cells: tuple[Cell, ...]
    differs: bool

    @property
    def value(self) -> Any:
        """That of every run, if none differs."""
        return self.cells[0].value


@dataclass(frozen=True, slots=True)
class Section:
    """A subject, such as the hyperparameters, with what differs and what does not by name."""

    name: str
    differing: tuple[Row, ...]
    equal: tuple[Row, ...]


def row(name: str, values: Sequence[Any], baseline: int) -> Row:
    """``values``: one a run; ``baseline``: the place of the run that others are shown against."""
    base = values[baseline]
    cells = tuple(
        Cell(
            value,
            is_baseline=place == baseline,
            equals_baseline=same(value, base),
            delta=None if place == baseline else delta(value, base),
        )
        for place, value in enumerate(values)
    )
    return Row(name, cells, differs=not all(cell.equals_baseline for cell in cells))


def section(name: str, runs: Sequence[Mapping[str, Any]], baseline: int) -> Section:
    """The rows of every name that any of the ``runs`` has, in the order in which they come."""
    names = dict.fromkeys(key for values in runs for key in values)
    rows = [row(key, [values.get(key, MISSING) for values in runs], baseline) for key in names]
    return Section(
        name,
        differing=tuple(found for found in rows if found.differs),
        equal=tuple(found for found in rows if not found.differs),
    )
