"""What the menus of the table offer: columns to show, and columns to group by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from django.core.cache import cache
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from dashboard.run_table.address import Address, escape
from dashboard.run_table.columns import (
    ATTRIBUTES,
    GROUPABLE,
    NAME,
    VALUE_LABELS,
    Column,
    Kind,
    Value,
)
from dashboard.run_table.query import Known
from metrics.goals import by_importance, direction_of
from sweeps.models import SweepQuerySet

# Of each kind: the field below them takes the name of any other.
MAX_OFFERED: Final = 40
MAX_GROUPS_OFFERED: Final = 12
MAX_SWEEPS_OFFERED: Final = 50
MENU_SECONDS: Final = 60
SYSTEM_TAGS: Final = "mlflow."


@dataclass(frozen=True, slots=True)
class Choice:
    column: Column
    spec: str  # as the form sends it
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class MetricChoices:
    """A metric, with those of its values that are not shown."""

    key: str
    values: list[tuple[str, Choice]]  # with a word for the value


@dataclass(frozen=True, slots=True)
class GroupChoice:
    column: Column
    query: str
    is_chosen: bool


def columns_menu(known: Known, shown: Sequence[Column]) -> SafeString:
    """The boxes to check, as HTML: half of the page, so it is kept while the names, and how many
    runs have each, are the same."""
    names = repr((known, [column.spec for column in shown], get_language()))
    key = f"run-table-columns-{blake2b(names.encode(), digest_size=16).hexdigest()}"
    menu: SafeString | None = cache.get(key)
    if menu is None:
        offered = {
            "columns": column_choices(known, shown),
            "metrics": metric_choices(known, shown),
        }
        menu = render_to_string("runs/_column_choices.html", offered)
        cache.set(key, menu, MENU_SECONDS)
    return menu


def column_choices(known: Known, shown: Sequence[Column]) -> list[tuple[str, list[Choice]]]:
    """Titles and the columns below them: the shown ones in their order, then all others but those
    of metrics."""
    others = {
        _("Run"): [Column(Kind.ATTRIBUTE, key) for key in ATTRIBUTES],
        _("Hyperparameters"): [Column(Kind.PARAM, key) for key in _params(known)],
        _("Tags"): [Column(Kind.TAG, key) for key in _tags(known)],
    }
    offered = [(_("Shown"), [Choice(column, escape(column.spec), True) for column in shown])]
    for title, columns in others.items():
        left = [column for column in columns if column not in shown and column != NAME]
        offered.append((title, [Choice(column, escape(column.spec), False) for column in left]))
    return [(title, choices) for title, choices in offered if choices]


def metric_choices(known: Known, shown: Sequence[Column]) -> list[MetricChoices]:
    """The metrics, the important ones first, in a line each."""
    lines = []
    for key in dict.fromkeys([*known.key_metrics, *by_importance(known.metrics)]):
        columns = [column for column in _values(key, known.main_metric) if column not in shown]
        values = [
            (str(VALUE_LABELS[column.value]), Choice(column, escape(column.spec), False))
            for column in columns
        ]
        if values:
            lines.append(MetricChoices(key, values))
    return lines[:MAX_OFFERED]


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


def sweep_choices(sweeps: SweepQuerySet, chosen: str) -> list[tuple[str, str]]:
    """Ids and names of the newest of the project's ``sweeps``, and of the chosen one."""
    newest = dict(sweeps.order_by("-created_at").values_list("pk", "name")[:MAX_SWEEPS_OFFERED])
    if chosen and chosen not in newest:
        newest[chosen] = sweeps.filter(pk=chosen).values_list("name", flat=True).first() or chosen
    return list(newest.items())


def _params(known: Known) -> list[str]:
    """Those that differ first."""
    return list(dict.fromkeys([*known.differing, *known.params]))[:MAX_OFFERED]


def _values(key: str, main: str | None) -> Iterable[Column]:
    """What can be shown of a metric. Which value is best, and at which step the main metric is, is
    told by their names."""
    yield Column(Kind.METRIC, key, Value.LAST)
    if direction_of(key) is not None:
        yield Column(Kind.METRIC, key, Value.BEST)
    yield Column(Kind.METRIC, key, Value.MINIMUM)
    yield Column(Kind.METRIC, key, Value.MAXIMUM)
    if main is not None and key != main and direction_of(main) is not None:
        yield Column(Kind.METRIC, key, Value.AT_BEST)


def _tags(known: Known) -> list[str]:
    return [key for key in known.tags if not key.startswith(SYSTEM_TAGS)][:MAX_OFFERED]
