"""What the names in a search's filter and order stand for in the database."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from django.db.models import (
    BooleanField,
    Case,
    Exists,
    F,
    FilteredRelation,
    FloatField,
    Func,
    JSONField,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Collate, Concat
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
from runs.models import DatasetInput
from runs.reports import NAME_TAG
from tracking.errors import InvalidParameter
from tracking.filters import AllOf, Comparison, Name, Node
from tracking.vocabulary import EPOCH, MILLISECOND, NOTE_TAG, STATUS_NAMES, USER_TAG

# The years that Python and PostgreSQL both know; beyond them nothing lies.
FIRST_MS: Final = (datetime(1, 1, 2, tzinfo=UTC) - EPOCH) // MILLISECOND
LAST_MS: Final = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // MILLISECOND


class Kind(Enum):
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


class Columns(ABC):
    """The columns of what is searched, by their names in MLflow's language."""

    @abstractmethod
    def column(self, name: Name) -> Column:
        """Raises InvalidParameter for a name that there is not."""

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """``rows`` with what the columns named so far need."""
        return rows


class ExperimentColumns(Columns):
    ATTRIBUTES: Final = {
        "name": (Kind.TEXT, "name"),
        "experiment_id": (Kind.TEXT, "pk"),
        "creation_time": (Kind.TIME, "created_at"),
        "created": (Kind.TIME, "created_at"),
        "last_update_time": (Kind.TIME, "updated_at"),
    }

    def column(self, name: Name) -> Column:
        if name.entity == "tag":
            if name.key == NOTE_TAG:
                return Column(Kind.TEXT, _none_if_empty("description"))
            return Column(Kind.TEXT, json_text("experiment_tags", name.key))
        known = self.ATTRIBUTES.get(name.key.lower())
        if name.entity != "attribute" or known is None:
            raise _unknown(name, self.ATTRIBUTES)
        kind, field = known
        return Column(kind, F(field))


class RunColumns(Columns):
    ATTRIBUTES: Final = {
        "run_id": (Kind.TEXT, "id"),
        "run_uuid": (Kind.TEXT, "id"),
        "run_name": (Kind.TEXT, "name"),
        "run name": (Kind.TEXT, "name"),
        "experiment_id": (Kind.TEXT, "project_id"),
        "start_time": (Kind.TIME, "started_at"),
        "created": (Kind.TIME, "started_at"),
        "end_time": (Kind.TIME, "finished_at"),
    }
    DATASET: Final = ("name", "digest", "context")

    def __init__(self) -> None:
        self._metrics: dict[str, str] = {}  # key -> what its value is called in the query

    def column(self, name: Name) -> Column:
        if name.entity == "metric":
            called = self._metrics.setdefault(name.key, f"metric_{len(self._metrics)}_value")
            return Column(Kind.NUMBER, F(called))
        if name.entity == "param":
            return Column(
                Kind.PARAM,
                json_text("hyperparameters", name.key),
                json=json_value("hyperparameters", name.key),
            )
        if name.entity == "tag":
            if name.key == NAME_TAG:
                return Column(Kind.TEXT, F("name"))
            return Column(Kind.TEXT, json_text("tags", name.key))
        if name.entity == "dataset":
            return self._dataset(name)
        return self._attribute(name)

    def _attribute(self, name: Name) -> Column:
        key = name.key.lower()
        if key in self.ATTRIBUTES:
            kind, field = self.ATTRIBUTES[key]
            return Column(kind, F(field))
        if key == "status":
            names = [When(status=status, then=Value(said)) for status, said in STATUS_NAMES.items()]
            return Column(Kind.TEXT, Case(*names, output_field=TextField()))
        if key in ("user_id", "user"):
            user = json_text("tags", USER_TAG)
            return Column(
                Kind.TEXT, Coalesce(user, "created_by__username", output_field=TextField())
            )
        if key == "artifact_uri":
            parts = (Value("mlflow-artifacts:/"), "project_id", Value("/"), "id")
            return Column(Kind.TEXT, Concat(*parts, Value("/artifacts"), output_field=TextField()))
        raise _unknown(name, (*self.ATTRIBUTES, "status", "user_id", "artifact_uri"))

    def _dataset(self, name: Name) -> Column:
        if name.key not in self.DATASET:
            raise _unknown(name, self.DATASET)
        expression: Any = F(name.key)
        if name.key == "context":
            expression = json_text("tags", "mlflow.data.context")
        inputs = DatasetInput.objects.filter(run=OuterRef("pk")).order_by()
        return Column(Kind.TEXT, expression, wrap=lambda found: Q(Exists(inputs.filter(found))))

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """One join for each metric, by the index of series: PostgreSQL may begin with whichever
        side is the smaller."""
        for number, (key, called) in enumerate(self._metrics.items()):
            relation = FilteredRelation("series", condition=Q(series__key=key))
            rows = rows.alias(**{f"metric_{number}": relation}).alias(
                **{called: F(f"metric_{number}__last_value")}
            )
        return rows


def _unknown(name: Name, known: Iterable[str]) -> InvalidParameter:
    return InvalidParameter(
        _("There is no %(name)s to search by, at position %(position)d; there are %(known)s.")
        % {
            "name": repr(f"{name.entity}.{name.key}"),
            "position": name.position + 1,
            "known": ", ".join(known),
        }
    )


def json_text(column: str, key: str) -> Func:
    """The text under ``key``; NULL where there is none. Not Django's ``column__key``: that takes a
    key of digits for the index of a list."""
    return Func(F(column), Value(key), function="jsonb_extract_path_text", output_field=TextField())


def json_value(column: str, key: str) -> Func:
    return Func(F(column), Value(key), function="jsonb_extract_path", output_field=JSONField())


def _none_if_empty(column: str) -> Func:
    return Func(F(column), Value(""), function="NULLIF", output_field=TextField())


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


def condition(node: Node, columns: Columns) -> Q:
    """``node`` as a condition. What a row does not have fulfils nothing but IS NULL.

    Raises InvalidParameter for a name that there is not, and for what cannot be compared.
    """
    if isinstance(node, Comparison):
        return _comparison(node, columns.column(node.name))
    parts = [condition(part, columns) for part in node.parts]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part if isinstance(node, AllOf) else whole | part
    return whole


def _comparison(comparison: Comparison, column: Column) -> Q:
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        if column.wrap is not None:
            raise _cannot(comparison)
        return Q(IsNull(column.expression, comparison.operator == "IS NULL"))
    compare = {
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
            "name": repr(f"{comparison.name.entity}.{comparison.name.key}"),
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


def time_of(milliseconds: int) -> datetime:
    """Unix time; what lies beyond the calendar is its end."""
    return EPOCH + MILLISECOND * max(FIRST_MS, min(LAST_MS, milliseconds))


def _time(comparison: Comparison, column: Column) -> Q:
    value, operator = comparison.value, comparison.operator
    if not isinstance(value, (int, float)) or operator not in (*COMPARE, "!="):
        raise _cannot(comparison)
    if not math.isfinite(value) or value != int(value):
        raise InvalidParameter(
            _("%(name)s is a time: a whole number of milliseconds.") % {"name": comparison.name.key}
        )
    begins, ends = time_of(int(value)), time_of(int(value) + 1)
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
