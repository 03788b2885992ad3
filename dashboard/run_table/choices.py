"""What the menus of the table offer: columns to show, and columns to group by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from dashboard.run_table.address import Address, escape
from dashboard.run_table.columns import (
    ATTRIBUTES,
    GROUPABLE,
    NAME,
    Column,
    Kind,
    Value,
)
from dashboard.run_table.query import Known
from metrics.goals import by_importance, direction_of, is_evaluation

# Of each kind: the field below them takes the name of any other.
MAX_OFFERED: Final = 40
MAX_GROUPS_OFFERED: Final = 12
SYSTEM_TAGS: Final = "mlflow."


@dataclass(frozen=True, slots=True)
class Choice:
    column: Column
    spec: str  # as the form sends it
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class GroupChoice:
    column: Column
    query: str
    is_chosen: bool


def column_choices(known: Known, shown: Sequence[Column]) -> list[tuple[str, list[Choice]]]:
    """Titles and the columns below them: the shown ones in their order, then all others."""
    others = {
        _("Run"): [Column(Kind.ATTRIBUTE, key) for key in ATTRIBUTES],
        _("Hyperparameters"): [Column(Kind.PARAM, key) for key in _params(known)],
        _("Metrics"): list(_metrics(known)),
        _("Tags"): [Column(Kind.TAG, key) for key in _tags(known)],
    }
    offered = [(_("Shown"), [Choice(column, escape(column.spec), True) for column in shown])]
    for title, columns in others.items():
        left = [column for column in columns if column not in shown and column != NAME]
        offered.append((title, [Choice(column, escape(column.spec), False) for column in left]))
    return [(title, choices) for title, choices in offered if choices]


def group_choices(known: Known, address: Address) -> list[GroupChoice]:
    columns = [
        *(Column(Kind.PARAM, key) for key in _params(known)[:MAX_GROUPS_OFFERED]),
        *(Column(Kind.TAG, key) for key in _tags(known)[:MAX_GROUPS_OFFERED]),
        *(Column(Kind.ATTRIBUTE, key) for key in ATTRIBUTES if key in GROUPABLE),
    ]
    if address.group is not None and address.group not in columns:
        columns.insert(0, address.group)
    return [
        GroupChoice(column, address.but(group=column), column == address.group)
        for column in columns
    ]


def _params(known: Known) -> list[str]:
    """Those that differ first."""
    return list(dict.fromkeys([*known.differing, *known.params]))[:MAX_OFFERED]


def _metrics(known: Known) -> Iterable[Column]:
    for key in by_importance(known.metrics)[:MAX_OFFERED]:
        yield Column(Kind.METRIC, key, Value.LAST)
        if direction_of(key) is not None:
            yield Column(Kind.METRIC, key, Value.BEST)
        if is_evaluation(key):
            yield Column(Kind.METRIC, key, Value.AT_BEST)


def _tags(known: Known) -> list[str]:
    return [key for key in known.tags if not key.startswith(SYSTEM_TAGS)][:MAX_OFFERED]
