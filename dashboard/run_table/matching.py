"""Which runs an address asks for, in which order, and their values in groups.

Runs that have been indexed are found by their rows of values, all others, which are few, by their
own rows and series. One statement reads both, so that a run which is being indexed is in it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeAlias

from django.db.models import (
    Case,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    When,
)
from django.db.models import Value as Constant
from django.db.models.expressions import OrderBy
from django.db.models.functions import Collate
from django.db.models.lookups import Exact, IsNull, LessThan

from dashboard.run_table import matching_queries
from dashboard.run_table.address import Address, Sort
from dashboard.run_table.columns import Kind
from dashboard.run_table.indexed import IndexedColumns
from dashboard.run_table.matching_queries import NEWEST, Parts, Term
from dashboard.run_table.search import PageColumns, greatest_tag, has_tag, in_sweep, series_field
from metrics.models import MetricSeries
from runs.models import RunQuerySet
from tracking.columns import USER
from tracking.conditions import json_text, sort_expression, where
from tracking.filters import Name

Expressions: TypeAlias = Callable[[PageColumns], Sequence[Any]]
NAN: Final = Constant(float("nan"), output_field=FloatField())


class OwnColumns(PageColumns):
    """Of runs that have not been indexed. They are few, so the series of each is looked up."""

    def metric(self, key: str, field: str) -> Any:
        series = MetricSeries.objects.filter(run=OuterRef("pk"), key=key)
        return Subquery(series.values(field)[:1])

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().prepare(rows.filter(is_indexed=False))


@dataclass(frozen=True, slots=True)
class Part:
    """Runs of one side that sort before those of the next part, and their order within it: that of
    an index, so that the first of them are found without reading the others."""

    condition: Q
    order_by: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """The runs that are found in one way."""

    rows: QuerySet[Any]
    terms: Sequence[Term]
    parts: Sequence[Part]
    values: Sequence[Any]


def page_number(asked: int, count: int, size: int) -> int:
    """``asked``, or the last page there is of ``count`` runs."""
    return max(1, min(asked, -(-count // size)))


class Matching:
    """The runs that ``address`` asks for among ``runs``, which are of one project. Raises
    InvalidParameter for its filter."""

    def __init__(self, runs: RunQuerySet, address: Address) -> None:
        self._runs = runs
        self._address = address

    @property
    def sorts_at_best(self) -> bool:
        """Whether the address sorts by values that only the curves tell. The runs are ordered as if
        it did not sort at all."""
        return self._address.sort is not None and self._address.sort.column.is_at_best

    def page(self, number: int, size: int) -> tuple[list[str], int, int]:
        """The IDs of a page, or of the last one there is; the number of runs; and of the page."""
        start = size * (number - 1)
        if self._compares_values:
            ids, count = self._all_at_once(start, start + size)
            if ids or start == 0:
                return ids, count, number
        count = self.count()
        number = page_number(number, count, size)
        return self.ids(size * (number - 1), size * number), count, number

    def count(self) -> int:
        if self._compares_values:
            return self._all_at_once(0, 1)[1]
        return self._unsorted[0].rows.order_by().count()

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Their IDs in order, or a slice of these."""
        if self._compares_values:
            return self._all_at_once(start, stop)[0]
        first, *others = self._sides(self._address)
        if not others:
            ordered = first.rows.order_by(*_keys(first.terms), *NEWEST)
            return list(ordered.values_list("pk", flat=True)[start:stop])
        parts = Parts(stop)
        for number, part in enumerate(first.parts):
            rows = first.rows.filter(part.condition).order_by(*part.order_by, *NEWEST)
            parts.add(rows, first.terms, is_rest=number > 0)
        for side in others:
            parts.add(side.rows.order_by(*_keys(side.terms), *NEWEST), side.terms)
        return parts.ids(first.terms, start)

    @cached_property
    def _compares_values(self) -> bool:
        """Whether the filter names hyperparameters or metrics. Then all of the project's runs are
        compared, to count them."""
        return len(self._unsorted) > 1

    @cached_property
    def _unsorted(self) -> list[Side]:
        return self._sides(replace(self._address, sort=None))

    def _all_at_once(self, start: int, stop: int | None) -> tuple[list[str], int]:
        sides = self._sides(self._address)
        rows = [(side.rows, [term.expression for term in side.terms]) for side in sides]
        return matching_queries.slice_and_count(rows, sides[0].terms, start, stop)

    def groups(
        self, by: Expressions, values: Expressions, *, order: str, limit: int
    ) -> list[tuple[Any, ...]]:
        """See matching_queries.groups."""
        sides = self._sides(
            replace(self._address, sort=None), lambda names: [*by(names), *values(names)]
        )
        return matching_queries.groups(
            ((side.rows, side.values) for side in sides), order=order, limit=limit
        )

    def _sides(self, address: Address, values: Expressions = lambda _names: ()) -> list[Side]:
        if address.in_trash:  # they have no rows of values
            return [_side(self._runs, address, PageColumns(), values)]
        indexed = IndexedColumns()
        side = _side(self._runs, address, indexed, values)
        if not indexed.needs_values:
            return [_side(self._runs, address, PageColumns(), values)]
        return [side, _side(self._runs, address, OwnColumns(), values)]


def _side(runs: RunQuerySet, address: Address, names: PageColumns, values: Expressions) -> Side:
    condition = where(address.filter, names) & _plain(address)
    terms, parts = _order(address.sort, names)
    selected = values(names)
    return Side(names.prepare(runs).filter(condition), terms, parts, selected)


def _plain(address: Address) -> Q:
    """The condition of the filters beside the filter language."""
    condition = Q()
    if address.archived != "with" and not address.in_trash:
        condition &= Q(archived_at__isnull=address.archived != "only")
    if address.name:
        condition &= Q(name__icontains=address.name)
    if address.statuses:
        condition &= Q(status__in=address.statuses)
    if address.who:
        condition &= Q(Exact(USER, Constant(address.who)))
    if address.tag:
        condition &= Q(has_tag(address.tag))
    if address.sweep:
        condition &= Q(in_sweep(address.sweep))
    return condition


def _order(sort: Sort | None, names: PageColumns) -> tuple[list[Term], list[Part]]:
    """The terms to sort by, and in which parts an index has runs in this order."""
    if sort is None or sort.column.is_at_best:
        return [], [Part(Q(), ())]
    column, descending = sort.column, sort.descending
    if column.kind is Kind.METRIC:
        value = names.metric(column.key, series_field(column.value.value, column.key))
        term = Term(value, descending, may_be_nan=True)
        return [term], [
            Part(Q(LessThan(value, NAN)), (term.in_index_order,)),
            Part(Q(Exact(value, NAN)), ()),
            Part(Q(IsNull(value, True)), ()),
        ]
    if column.kind is Kind.PARAM:
        number = Term(names.param_number(column.key), descending)
        no_number = Q(IsNull(number.expression, True))
        given = names.param_text(column.key)
        text = Term(Case(When(no_number, then=given), output_field=TextField()), descending)
        # Thousands of runs may have the same value: in the index, they are in the order of their
        # ids, and in that of their age all of them would have to be read.
        by_id = OrderBy(F("id"), descending=descending)
        return [number, text, Term(F("id"), descending)], [
            Part(Q(IsNull(number.expression, False)), (number.in_index_order, by_id)),
            Part(
                no_number & Q(IsNull(given, False)), (OrderBy(given, descending=descending), by_id)
            ),
            Part(Q(IsNull(given, True)), (by_id,)),
        ]
    if column.kind is Kind.TAG:
        expression: Any = Collate(json_text("tags", column.key), "C")
    elif column.key == "checkpoint_tags":
        expression = greatest_tag()
    else:
        expression = sort_expression(names.column(Name("attribute", column.key, 0)))
    term = Term(expression, descending)
    return [term], [Part(Q(), (term.keys[0],))]


def _keys(terms: Sequence[Term]) -> list[OrderBy]:
    return [key for term in terms for key in term.keys]
