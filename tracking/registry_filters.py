"""The filters and orders of the registry's searches: comparisons joined by AND.

    name LIKE 'summary%' AND tags.`who asked` = 'us' AND version_number > 3

What is compared with what is the caller's to say (``Fields``); every value reaches the database as
a parameter.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from django.db.models import F, Func, Q, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.lookups import (
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    Lookup,
)
from django.utils.translation import gettext as _

from tracking.errors import InvalidParameter
from tracking.filters import MAX_COMPARISONS

if TYPE_CHECKING:  # generic for the type checker alone
    AnyLookup = Lookup[Any]
else:
    AnyLookup = Lookup

# Milliseconds of Unix time that a datetime can hold.
TIMES: Final = (-6.2e13, 2.5e14)
TOKENS: Final = re.compile(
    r"""
    \s*(?:
        (?P<name>(?:[A-Za-z]+\.)?`[^`]*` | [A-Za-z]+\."[^"]*" | [A-Za-z_][\w.\-/]*)
      | (?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*")
      | (?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)
      | (?P<mark><=|>=|!=|<>|=|<|>|[(),])
    )
    """,
    re.VERBOSE,
)
ORDER: Final = re.compile(r"\s*(\S+)(?:\s+(ASC|DESC))?\s*", re.IGNORECASE)
PROMPT_TAG: Final = "mlflow.prompt.is_prompt"
NO_PROMPT: Final = Value("false", output_field=TextField())
ENTITIES: Final = {
    **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
}
TEXT_OPERATORS: Final = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
NUMBER_OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")
COMPARISONS: Final[dict[str, type[AnyLookup]]] = {
    "=": Exact,
    "<": LessThan,
    "<=": LessThanOrEqual,
    ">": GreaterThan,
    ">=": GreaterThanOrEqual,
}


@dataclass(frozen=True)
class Condition:
    entity: str  # a value of ENTITIES
    key: str
    operator: str
    value: str | float | tuple[str, ...]


@dataclass(frozen=True)
class Fields:
    """What may be compared: attribute -> column by the kind of its values, and JSON columns of
    texts by their entity; ``metric`` says whether a metric's value is as a condition wants it."""

    texts: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)  # milliseconds to the client
    maps: Mapping[str, str] = field(default_factory=dict)
    metric: Callable[[Condition, Q], Q] | None = None

    def where(self, text: str) -> Q:
        """The condition that ``text`` is. Raises InvalidParameter."""
        return reduce(operator.and_, map(self._matches, parse(text)), Q())

    def _matches(self, condition: Condition) -> Q:
        if condition.entity in self.maps:
            return _text_matches(value_at(self.maps[condition.entity], condition.key), condition)
        if condition.entity == "metric" and self.metric is not None:
            return self.metric(condition, _number_matches(F("value"), condition))
        if condition.entity == "attribute":
            if condition.key in self.texts:
                return _text_matches(F(self.texts[condition.key]), condition)
            if condition.key in self.numbers:
                return _number_matches(F(self.numbers[condition.key]), condition)
            if condition.key in self.times:
                return _time_matches(F(self.times[condition.key]), condition)
        raise InvalidParameter(
            _("There is no searching by %(entity)s %(key)s.")
            % {"entity": condition.entity, "key": condition.key}
        )

    def order_by(self, text: str) -> Any:
        """``name DESC``. Raises InvalidParameter."""
        found = ORDER.fullmatch(text)
        if found is None:
            raise InvalidParameter(_("%(text)s is no order.") % {"text": text})
        return self.order(found[1], ascending=(found[2] or "ASC").upper() == "ASC")

    def order(self, name: str, *, ascending: bool) -> Any:
        entity, key = _entity_and_key(name)
        column = {**self.texts, **self.numbers, **self.times}.get(key)
        if entity != "attribute" or column is None:
            raise InvalidParameter(_("There is no ordering by %(name)s.") % {"name": name})
        return F(column).asc(nulls_last=True) if ascending else F(column).desc(nulls_last=True)


class Like(AnyLookup):
    """SQL's own: % for any characters, _ for one, and nothing that escapes them."""

    lookup_name = "like"
    operator = "LIKE"

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, column_params = self.process_lhs(compiler, connection)
        pattern, pattern_params = self.process_rhs(compiler, connection)
        sql = f"{column} {self.operator} {pattern} ESCAPE ''"
        return sql, [*column_params, *pattern_params]


class ILike(Like):
    lookup_name = "ilike"
    operator = "ILIKE"


def value_at(column: str, key: str) -> Combinable:
    """The text at ``key`` in a JSON column. Django's KeyTextTransform takes "5" for a position.

    What is no prompt has no tag that says so: clients that search for models ask for "false".
    """
    text = Func(F(column), Value(key), function="jsonb_extract_path_text", output_field=TextField())
    return Coalesce(text, NO_PROMPT) if key == PROMPT_TAG else text


def _text_matches(column: Combinable, condition: Condition) -> Q:
    value = condition.value
    listed = condition.operator in ("IN", "NOT IN")
    _check(condition, TEXT_OPERATORS, isinstance(value, tuple if listed else str))
    if condition.operator == "LIKE":
        return Q(Like(column, Value(value)))
    if condition.operator == "ILIKE":
        return Q(ILike(column, Value(value)))
    if listed:
        found = Q(In(column, list(value) if isinstance(value, tuple) else []))
        return ~found if condition.operator == "NOT IN" else found
    return (
        ~Q(Exact(column, Value(value))) if condition.operator == "!=" else Q(Exact(column, value))
    )


def _number_matches(column: Combinable, condition: Condition) -> Q:
    value = condition.value
    _check(condition, NUMBER_OPERATORS, isinstance(value, float))
    if condition.operator == "!=":
        return ~Q(Exact(column, Value(value)))
    return Q(COMPARISONS[condition.operator](column, Value(value)))


def _time_matches(column: Combinable, condition: Condition) -> Q:
    """Clients know milliseconds, the database microseconds: equal is what lies within one."""
    value = condition.value
    _check(condition, NUMBER_OPERATORS, isinstance(value, float) and TIMES[0] < value < TIMES[1])
    assert isinstance(value, float)
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    end = start + timedelta(milliseconds=1)
    return {
        "=": Q(GreaterThanOrEqual(column, start), LessThan(column, end)),
        "!=": Q(LessThan(column, start)) | Q(GreaterThanOrEqual(column, end)),
        "<": Q(LessThan(column, start)),
        "<=": Q(LessThan(column, end)),
        ">": Q(GreaterThanOrEqual(column, end)),
        ">=": Q(GreaterThanOrEqual(column, start)),
    }[condition.operator]


def _check(condition: Condition, operators: Sequence[str], value_fits: bool) -> None:
    if condition.operator not in operators or not value_fits:
        raise InvalidParameter(
            _("%(key)s cannot be compared so: %(operator)s %(value)s.")
            % {
                "key": condition.key,
                "operator": condition.operator,
                "value": condition.value,
            }
        )


def parse(text: str) -> list[Condition]:
    """The comparisons of a filter. Raises InvalidParameter."""
    if "\x00" in text:
        raise InvalidParameter(_("The filter holds a NUL character."))
    tokens = _Tokens(text)
    conditions: list[Condition] = []
    while tokens.left:
        if len(conditions) == MAX_COMPARISONS:
            raise InvalidParameter(
                _("%(limit)d comparisons are the limit") % {"limit": MAX_COMPARISONS}
            )
        if conditions:
            tokens.take_word("AND")
        conditions.append(_condition(tokens))
    return conditions


def _condition(tokens: _Tokens) -> Condition:
    entity, key = _entity_and_key(tokens.take("name"))
    comparison = _operator(tokens)
    value = _listed(tokens) if comparison in ("IN", "NOT IN") else _value(tokens)
    return Condition(entity, key, comparison, value)


def _entity_and_key(name: str) -> tuple[str, str]:
    head, dot, rest = name.partition(".")
    if dot and (entity := ENTITIES.get(head.lower())):
        return entity, rest.strip('`"')
    return "attribute", name.strip('`"')


def _operator(tokens: _Tokens) -> str:
    if tokens.kind == "mark":
        mark = tokens.take("mark")
        return "!=" if mark == "<>" else mark
    word = tokens.take("name").upper()
    if word == "NOT":
        tokens.take_word("IN")
        return "NOT IN"
    return word


def _value(tokens: _Tokens) -> str | float:
    if tokens.kind == "number":
        return float(tokens.take("number"))
    quoted = tokens.take("text")
    return quoted[1:-1].replace(quoted[0] * 2, quoted[0])


def _listed(tokens: _Tokens) -> tuple[str, ...]:
    tokens.take_word("(")
    values = [str(_value(tokens))]
    while tokens.is_word(","):
        tokens.take_word(",")
        if not tokens.is_word(")"):
            values.append(str(_value(tokens)))
    tokens.take_word(")")
    return tuple(values)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.left: list[tuple[str, str]] = []  # kind, text; the next one last
        position, end = 0, len(text.rstrip())
        while position < end:
            found = TOKENS.match(text, position)
            if found is None:
                raise _unreadable(text[position:])
            self.left.append((str(found.lastgroup), found[str(found.lastgroup)]))
            position = found.end()
        self.left.reverse()

    @property
    def kind(self) -> str:
        return self.left[-1][0] if self.left else ""

    def take(self, kind: str) -> str:
        if self.kind != kind:
            raise _unreadable(self.left[-1][1] if self.left else "")
        return self.left.pop()[1]

    def is_word(self, word: str) -> bool:
        return bool(self.left) and self.left[-1][1].upper() == word

    def take_word(self, word: str) -> None:
        if not self.is_word(word):
            raise _unreadable(self.left[-1][1] if self.left else "")
        self.left.pop()


def _unreadable(text: str) -> InvalidParameter:
    if not text:
        return InvalidParameter(_("The filter ends too early."))
    return InvalidParameter(_("The filter cannot be read at %(text)s.") % {"text": text[:50]})
