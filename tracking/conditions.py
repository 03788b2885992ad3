"""Filters as conditions of the database, and what an order sorts by.

What the names in them stand for is each search's own: Columns, tracking/columns.py.
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
    JSONField,
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

from projects.hyperparameters import number_of
from tracking.errors import InvalidParameter
from tracking.filters import AnyOf, Comparison, Name, Node, parse_filter
from tracking.vocabulary import EPOCH, MILLISECOND

# The years that Python and PostgreSQL both know; beyond them nothing lies.
FIRST_MS: Final = (datetime(1, 1, 2, tzinfo=UTC) - EPOCH) // MILLISECOND
LAST_MS: Final = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // MILLISECOND


class Kind(Enum):
    INTEGER = "integer"
    NUMBER = "number"  # a double; NaN is a value that nothing is equal to
    TIME = "time"  # compared in whole milliseconds
    TEXT = "text"
    PARAM = "param"  # a text, or a JSON value that a text may denote


@dataclass(frozen=True)
class Column:
    kind: Kind
    expression: Any
    json: Any = None  # of a PARAM: the value itself
    # Of a column of another table: makes the condition one on the row that is searched.
    wrap: Callable[[Q], Q] | None = None


class Columns:
    """The columns of what is searched, by their names in MLflow's language."""

    PRIMARY_KEY: ClassVar = Column(Kind.TEXT, F("pk"))
    ATTRIBUTES: ClassVar[Mapping[str, Column]]
    TEXTS: ClassVar[Mapping[str, str]]  # entity -> the JSON column of its texts
    HAS_OR: ClassVar = True

    def column(self, name: Name) -> Column:
        """What a filter compares. Raises InvalidParameter for a name that there is not."""
        if name.entity in self.TEXTS:
            return Column(Kind.TEXT, json_text(self.TEXTS[name.entity], name.key))
        known = self.ATTRIBUTES.get(name.key.lower())
        if name.entity != "attribute" or known is None:
            raise unknown(name, self.ATTRIBUTES)
        return known

    def sorting(self, name: Name) -> Column:
        """What an order sorts by. Raises InvalidParameter."""
        column = self.column(name)
        if column.wrap is not None:
            raise no_ordering(name)
        return column

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """``rows`` with what the columns named so far need."""
        return rows


def unknown(name: Name, known: Iterable[str]) -> InvalidParameter:
    return InvalidParameter(
        _("There is no %(name)s to search by, at position %(position)d; there are %(known)s.")
        % {"name": repr(str(name)), "position": name.position + 1, "known": ", ".join(known)}
    )


def no_ordering(name: Name) -> InvalidParameter:
    return InvalidParameter(_("There is no ordering by %(name)s.") % {"name": name})


def json_text(column: str, key: str) -> Func:
    """The text under ``key``; NULL where there is none. Not Django's ``column__key``: that takes a
    key of digits for the index of a list."""
    return Func(F(column), Value(key), function="jsonb_extract_path_text", output_field=TextField())


def json_value(column: str, key: str) -> Func:
    return Func(F(column), Value(key), function="jsonb_extract_path", output_field=JSONField())


class Like(Func):
    """SQL's LIKE, in which a backslash is a character like any other."""

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
    """The filter ``text`` as a condition. What a row does not have fulfils nothing but IS NULL.

    Raises InvalidParameter for a name that there is not, and for what cannot be compared.
    """
    node = parse_filter(text)
    return Q() if node is None else _condition(node, columns)


def _condition(node: Node, columns: Columns) -> Q:
    if isinstance(node, Comparison):
        return _comparison(node, columns.column(node.name))
    if isinstance(node, AnyOf) and not columns.HAS_OR:
        raise InvalidParameter(_("This search joins comparisons by AND alone."))
    join = Q.OR if isinstance(node, AnyOf) else Q.AND
    return Q(*(_condition(part, columns) for part in node.parts), _connector=join)


def _comparison(comparison: Comparison, column: Column) -> Q:
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        if column.wrap is not None:
            raise _cannot(comparison)
        return Q(IsNull(column.expression, comparison.operator == "IS NULL"))
    compare = {
        Kind.INTEGER: _number,
        Kind.NUMBER: _number,
        Kind.TIME: _time,
        Kind.TEXT: _text,
        Kind.PARAM: _text,
    }[column.kind]
    found = compare(comparison, column)
    return found if column.wrap is None else column.wrap(found)


def _cannot(comparison: Comparison) -> InvalidParameter:
    return InvalidParameter(
        _("%(name)s, at position %(position)d, cannot be compared by %(operator)s with that value.")
        % {
            "name": repr(str(comparison.name)),
            "position": comparison.name.position + 1,
            "operator": comparison.operator,
        }
    )


def _number(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if not isinstance(value, (int, float)) or operator not in (*COMPARE, "!="):
        raise _cannot(comparison)
    number = Value(float(value), output_field=FloatField())
    if operator == "!=":
        return ~Q(Exact(column.expression, number))
    found = Q(COMPARE[operator](column.expression, number))
    # To PostgreSQL NaN is the greatest number; to everybody else it is not even comparable.
    return found & ~Q(is_nan(column.expression)) if operator in (">", ">=") else found


def is_nan(expression: Any) -> Exact[Any]:
    return Exact(expression, Value(math.nan, output_field=FloatField()))


def _time(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if not isinstance(value, (int, float)) or operator not in (*COMPARE, "!="):
        raise _cannot(comparison)
    if not math.isfinite(value) or value != int(value):
        raise InvalidParameter(
            _("%(name)s is a time: a whole number of milliseconds.") % {"name": comparison.name.key}
        )
    begins, ends = _moment(int(value)), _moment(int(value) + 1)
    before = Q(LessThan(column.expression, begins))
    until = Q(LessThan(column.expression, ends))
    return {
        "<": before,
        "<=": until,
        ">": ~until,
        ">=": ~before,
        "=": until & ~before,
        "!=": before | ~until,
    }[operator]


def _moment(milliseconds: int) -> datetime:
    return EPOCH + MILLISECOND * max(FIRST_MS, min(LAST_MS, milliseconds))


def _text(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if isinstance(value, tuple):
        among = _any_of(column, value)
        return among if operator == "IN" else ~among & Q(IsNull(column.expression, False))
    if not isinstance(value, str) or operator not in ("=", "!=", "LIKE", "ILIKE"):
        raise _cannot(comparison)
    if operator in ("LIKE", "ILIKE"):
        like = Like if operator == "LIKE" else ILike
        return Q(like(column.expression, Value(value, output_field=TextField())))
    equal = _any_of(column, (value,))
    return equal if operator == "=" else ~equal & Q(IsNull(column.expression, False))


def _any_of(column: Column, texts: tuple[str, ...]) -> Q:
    found = Q(In(column.expression, list(texts)))
    if column.kind is Kind.PARAM:
        for text in texts:
            for value in _denoted(text):
                found |= Q(Exact(column.json, Value(value, output_field=JSONField())))
    return found


def _denoted(text: str) -> list[Any]:
    """The JSON values besides texts that ``text`` may stand for, as Python or JSON write them."""
    if text in ("True", "False"):
        return [text == "True"]
    number = number_of(text)
    return [] if number is None else [number]


# --- orders ----------------------------------------------------------------------------------


def ordering(column: Column) -> Combinable:
    """What to sort by: texts by their code points, whatever the database's own order is."""
    if column.kind in (Kind.TEXT, Kind.PARAM):
        collated: Combinable = Collate(column.expression, "C")
        return collated
    expression: Combinable = column.expression
    return expression
