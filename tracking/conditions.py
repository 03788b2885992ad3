"""Filters as database conditions, and sort orders as expressions.

The names in them are resolved by each search's Columns: see tracking/columns.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar, Final

from django.db.models import (
    BooleanField,
    F,
    FloatField,
    Func,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Collate
from django.db.models.lookups import (
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
)
from django.utils.translation import gettext as _

from core.json_field import JSONField
from core.times import EPOCH, MILLISECOND
from projects.hyperparameters import number_of
from tracking.errors import InvalidParameter
from tracking.filters import ENTITIES, AnyOf, Comparison, Name, Node, parse_filter

# The range that both Python and PostgreSQL can represent; no stored time is outside it.
FIRST_MS: Final = (datetime(1, 1, 2, tzinfo=UTC) - EPOCH) // MILLISECOND
LAST_MS: Final = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // MILLISECOND


class Kind(Enum):
    INTEGER = "integer"
    NUMBER = "number"  # a double; NaN equals nothing
    TIME = "time"  # compared in whole milliseconds
    TEXT = "text"
    PARAM = "param"  # text, or a JSON value that a text may denote


@dataclass(frozen=True)
class Column:
    kind: Kind
    expression: Any
    json: Any = None  # for a PARAM: the JSON value
    # For a column of another table: turns the condition into one on the searched row.
    wrap: Callable[[Q], Q] | None = None
    # For a TEXT: the stored text that a filter's text stands for; None if it stands for nothing.
    denoted: Callable[[str], str | None] | None = None
    # For a TIME that is compared with texts too: the time that a text names, from its start to that
    # of the next; None if it names none.
    span: Callable[[str], tuple[datetime, datetime] | None] | None = None
    # For a PARAM that is compared with numbers too: its number, or NULL.
    number: Any = None
    # For a PARAM whose expression may be only the start of its text: all of it.
    whole: Any = None
    # For a PARAM that is found by an index: the condition that it equals one of the texts.
    any_of: Callable[[tuple[str, ...]], Q] | None = None


class Columns:
    """The searchable columns, by their names in MLflow's filter language."""

    PRIMARY_KEY: ClassVar = Column(Kind.TEXT, F("pk"))
    ATTRIBUTES: ClassVar[Mapping[str, Column]]
    TEXTS: ClassVar[Mapping[str, str]]  # entity -> JSON column with its values
    ENTITIES: ClassVar[Mapping[str, str]] = ENTITIES  # the prefixes of names in filters
    HAS_OR: ClassVar = True

    def column(self, name: Name) -> Column:
        """The column that a filter compares. Raises InvalidParameter for an unknown name."""
        if name.entity in self.TEXTS:
            return Column(Kind.TEXT, json_text(self.TEXTS[name.entity], name.key))
        column = self.ATTRIBUTES.get(name.key.lower())
        if name.entity != "attribute" or column is None:
            raise unknown_field(name, self.ATTRIBUTES)
        return column

    def sorting(self, name: Name) -> Column:
        """The column to sort by. Raises InvalidParameter."""
        column = self.column(name)
        if column.wrap is not None:
            raise cannot_sort(name)
        return column

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Add the joins that the columns requested so far need."""
        return rows


def unknown_field(name: Name, known: Iterable[str]) -> InvalidParameter:
    return InvalidParameter(
        _("Unknown field %(name)s at position %(position)d; expected one of %(known)s.")
        % {"name": repr(str(name)), "position": name.position + 1, "known": ", ".join(known)},
        position=name.position,
    )


def cannot_sort(name: Name) -> InvalidParameter:
    return InvalidParameter(_("Cannot sort by %(name)s.") % {"name": name}, position=name.position)


def json_text(column: str, key: str) -> Func:
    """The text under ``key``, or NULL. Unlike Django's ``column__key``, treats a numeric key as a
    key and not as a list index."""
    return Func(F(column), Value(key), function="jsonb_extract_path_text", output_field=TextField())


def json_value(column: str, key: str) -> Func:
    return Func(F(column), Value(key), function="jsonb_extract_path", output_field=JSONField())


class Like(Func):
    """SQL's LIKE without an escape character: a backslash matches itself."""

    template = "%(expressions)s ESCAPE ''"
    arg_joiner = " LIKE "
    output_field = BooleanField()


class ILike(Like):
    arg_joiner = " ILIKE "


# --- conditions ------------------------------------------------------------------------------

COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": Exact,
    "<": LessThan,
    "<=": LessThanOrEqual,
    ">": GreaterThan,
    ">=": GreaterThanOrEqual,
}


def where(text: str, columns: Columns) -> Q:
    """Parse the filter ``text`` into a condition. A missing value satisfies only IS NULL.

    Raises InvalidParameter for a syntax error, an unknown name, or an invalid comparison.
    """
    node = parse_filter(text, columns.ENTITIES)
    return Q() if node is None else _condition(node, columns)


def _condition(node: Node, columns: Columns) -> Q:
    if isinstance(node, Comparison):
        return _comparison(node, columns.column(node.name))
    if isinstance(node, AnyOf) and not columns.HAS_OR:
        raise InvalidParameter(_("This search supports only AND between comparisons."))
    join = Q.OR if isinstance(node, AnyOf) else Q.AND
    return Q(*(_condition(part, columns) for part in node.parts), _connector=join)


def _comparison(comparison: Comparison, column: Column) -> Q:
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        if column.wrap is not None:
            raise _cannot_compare(comparison)
        return Q(IsNull(column.expression, comparison.operator == "IS NULL"))
    compare = {
        Kind.INTEGER: _number,
        Kind.NUMBER: _number,
        Kind.TIME: _time,
        Kind.TEXT: _text,
        Kind.PARAM: _text,
    }[column.kind]
    condition = compare(comparison, column)
    return condition if column.wrap is None else column.wrap(condition)


def _cannot_compare(comparison: Comparison) -> InvalidParameter:
    return InvalidParameter(
        _("%(name)s at position %(position)d cannot be compared to this value with %(operator)s.")
        % {
            "name": repr(str(comparison.name)),
            "position": comparison.name.position + 1,
            "operator": comparison.operator,
        },
        position=comparison.name.position,
    )


def _number(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if not isinstance(value, (int, float)) or operator not in (*COMPARE, "!="):
        raise _cannot_compare(comparison)
    number = Value(float(value), output_field=FloatField())
    if operator == "!=":
        return ~Q(Exact(column.expression, number))
    condition = Q(COMPARE[operator](column.expression, number))
    # PostgreSQL treats NaN as the greatest number; in filters it is greater than nothing.
    return condition & ~Q(is_nan(column.expression)) if operator in (">", ">=") else condition


def is_nan(expression: Any) -> Exact[Any]:
    return Exact(expression, Value(math.nan, output_field=FloatField()))


def _time(comparison: Comparison, column: Column) -> Q:
    start, end = _span(comparison, column)
    before_start = Q(LessThan(column.expression, start))
    before_end = Q(LessThan(column.expression, end))
    return {
        "<": before_start,
        "<=": before_end,
        ">": ~before_end,
        ">=": ~before_start,
        "=": before_end & ~before_start,
        "!=": before_start | ~before_end,
    }[comparison.operator]


def _span(comparison: Comparison, column: Column) -> tuple[datetime, datetime]:
    """What a time is compared with: the millisecond that a number denotes, or what a text names."""
    value = comparison.value
    if comparison.operator not in (*COMPARE, "!="):
        raise _cannot_compare(comparison)
    if isinstance(value, str) and column.span is not None:
        found = column.span(value)
        if found is None:
            raise InvalidParameter(
                _(
                    "%(text)s at position %(position)d is no date or time, such as 2026-11-28 or "
                    "2026-11-28T10:00+08:00."
                )
                % {"text": repr(value[:40]), "position": comparison.value_position + 1},
                position=comparison.value_position,
            )
        return found
    if not isinstance(value, (int, float)):
        raise _cannot_compare(comparison)
    if not math.isfinite(value) or value != int(value):
        raise InvalidParameter(
            _("%(name)s must be a whole number of milliseconds.") % {"name": comparison.name.key},
            position=comparison.name.position,
        )
    return _clamped_time(int(value)), _clamped_time(int(value) + 1)


def _clamped_time(milliseconds: int) -> datetime:
    return EPOCH + MILLISECOND * max(FIRST_MS, min(LAST_MS, milliseconds))


def _text(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if isinstance(value, (int, float)) and column.number is not None:
        return _number(comparison, Column(Kind.NUMBER, column.number))
    if isinstance(value, tuple):
        any_of = equals_any(column, tuple(_denoted(text, comparison, column) for text in value))
        return any_of if operator == "IN" else ~any_of & Q(IsNull(column.expression, False))
    if not isinstance(value, str) or operator not in ("=", "!=", "LIKE", "ILIKE"):
        raise _cannot_compare(comparison)
    if operator in ("LIKE", "ILIKE"):
        like = Like if operator == "LIKE" else ILike
        return Q(like(column.whole or column.expression, Value(value, output_field=TextField())))
    equal = equals_any(column, (_denoted(value, comparison, column),))
    return equal if operator == "=" else ~equal & Q(IsNull(column.expression, False))


def _denoted(text: str, comparison: Comparison, column: Column) -> str:
    if column.denoted is None:
        return text
    stored = column.denoted(text)
    if stored is None:
        raise _cannot_compare(comparison)
    return stored


def equals_any(column: Column, texts: tuple[str, ...]) -> Q:
    """Whether the column's text is one of ``texts``, or its JSON value one that these denote."""
    if column.any_of is not None:
        return column.any_of(texts)
    condition = Q(In(column.expression, list(texts)))
    if column.kind is Kind.PARAM:
        for text in texts:
            for value in denoted_values(text):
                condition |= Q(Exact(column.json, Value(value, output_field=JSONField())))
    return condition


def denoted_values(text: str) -> list[Any]:
    """The JSON booleans and numbers that ``text`` may denote in Python or JSON notation."""
    if text in ("True", "False"):
        return [text == "True"]
    number = number_of(text)
    return [] if number is None else [number]


# --- sort orders -----------------------------------------------------------------------------


def sort_expression(column: Column) -> Combinable:
    """The expression to sort by; texts sort by code point, regardless of the database collation."""
    if column.kind in (Kind.TEXT, Kind.PARAM):
        collated: Combinable = Collate(column.expression, "C")
        return collated
    expression: Combinable = column.expression
    return expression
