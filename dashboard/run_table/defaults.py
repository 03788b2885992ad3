"""The columns of a table whose address names none: what differs, and what matters."""

from __future__ import annotations

from typing import Final

from dashboard.run_table.columns import NAME, Column, Kind, Value
from dashboard.run_table.query import Known
from metrics.goals import is_evaluation

MAX_PARAMS: Final = 6
BEFORE: Final = ("status", "progress")
AFTER: Final = ("duration", "started", "who")


def default_columns(known: Known) -> tuple[Column, ...]:
    columns = [
        *(Column(Kind.ATTRIBUTE, key) for key in BEFORE),
        *(Column(Kind.PARAM, key) for key in known.differing[:MAX_PARAMS]),
        *(_of_metric(key) for key in known.key_metrics),
        *(Column(Kind.ATTRIBUTE, key) for key in AFTER),
    ]
    return tuple(columns)


def _of_metric(key: str) -> Column:
    """Of an evaluation the best, which its checkpoint may still have; else the last."""
    best = Column(Kind.METRIC, key, Value.BEST)
    return best if is_evaluation(key) and best.has_value else Column(Kind.METRIC, key)


def shown_columns(chosen: tuple[Column, ...], default: tuple[Column, ...]) -> list[Column]:
    """The columns beside the run's name, which is always the first."""
    return [column for column in chosen or default if column != NAME]
