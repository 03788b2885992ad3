"""The language of MLflow's searches: filter strings and orders, read into plain data.

    metrics.loss < 0.5 AND (params.`batch size` = '32' OR tags.team LIKE '%nlp%')

What MLflow's own filters say and OR and parentheses besides: one language for all searches, of
which each knows some names (tracking/columns.py). Nothing but InvalidParameter leaves this module,
whatever it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from django.utils.translation import gettext as _

from tracking.errors import InvalidParameter

MAX_LENGTH = 20_000  # characters
MAX_DEPTH = 50  # parentheses within parentheses
MAX_COMPARISONS = 50
MAX_VALUES = 1000  # of one IN
MAX_ORDERS = 10

ENTITIES: Final = {
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "dataset": "dataset",
    "datasets": "dataset",
}

Value: TypeAlias = float | int | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Name:
    """What is compared or ordered by, e.g. ("metric", "loss"); ``position``: where it stands."""

    entity: str
    key: str
    position: int

    def __str__(self) -> str:
        return f"{self.entity}.{self.key}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operator`` is one of OPERATORS; ``value`` is a tuple for IN, None for IS."""

    name: Name
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Node, ...]


Node: TypeAlias = Comparison | AllOf | AnyOf

OPERATORS: Final = (
    *("=", "!=", "<", "<=", ">", ">="),
    *("LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"),
)
KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL"})


@dataclass(frozen=True, slots=True)
class Order:
    name: Name
    descending: bool


# --- words -----------------------------------------------------------------------------------

TOKEN: Final = re.compile(
    r"""
    (?P<space> \s+ )
    | (?P<name> (?P<entity> [A-Za-z]+ ) \. (?: (?P<bare> [\w./:\-]+ )
        | `(?P<backtick> [^`]+ )` | "(?P<double> [^"]+ )" ) )
    | (?P<word> [^\W\d]\w* )
    | (?P<quoted> `(?P<quoted_name> [^`]+ )` )
    | (?P<number> [+-]?(?: [0-9]+(?:\.[0-9]*)? | \.[0-9]+ )(?:[eE][+-]?[0-9]+)? )
    | (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" )
    | (?P<operator> <= | >= | != | <> | == | = | < | > )
    | (?P<punctuation> [(),] )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    position: int  # from 0
    entity: str = ""

    @property
    def keyword(self) -> str:
        upper = self.text.upper()
        return upper if self.kind == "word" and upper in KEYWORDS else ""


def _tokens(text: str) -> list[Token]:
    if len(text) > MAX_LENGTH:
        raise InvalidParameter(
            _("A filter has %(limit)d characters at most.") % {"limit": MAX_LENGTH}
        )
    if "\x00" in text:
        raise InvalidParameter(_("%(name)s holds a NUL character.") % {"name": "filter"})
    tokens = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise _wrong(
                text[position : position + 20], position, _("this is no word of the language")
            )
        if not match["space"]:
            tokens.append(_token(match))
        position = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _token(match: re.Match[str]) -> Token:
    if match["name"]:
        key = match["bare"] or match["backtick"] or match["double"]
        return Token("name", key, match.start(), entity=match["entity"])
    if match["quoted"]:
        return Token("quoted", match["quoted_name"], match.start())
    for kind in ("word", "number", "operator", "punctuation"):
        if match[kind]:
            return Token(kind, match[kind], match.start())
    quote = match["text"][0]
    return Token("text", match["text"][1:-1].replace(quote * 2, quote), match.start())


def _wrong(word: str, position: int, reason: str) -> InvalidParameter:
    """``position`` from 0; people count from 1."""
    return InvalidParameter(
        _("The filter is wrong at position %(position)d, %(word)s: %(reason)s.")
        % {"position": position + 1, "word": repr(word), "reason": reason}
    )


# --- filters ---------------------------------------------------------------------------------


def parse_filter(text: str) -> Node | None:
    """What ``text`` asks for; None for an empty one. Raises InvalidParameter."""
    parser = _Parser(_tokens(text))
    if parser.next.kind == "end":
        return None
    node = parser.any_of(0)
    if parser.next.kind != "end":
        raise parser.wrong(_("AND, OR or the end is expected"))
    return node


class _Parser:
    """Recursive descent: OR of ANDs of comparisons and of what stands in parentheses."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._comparisons = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def wrong(self, reason: str) -> InvalidParameter:
        return _wrong(self.next.text, self.next.position, reason)

    def take(self) -> Token:
        token = self.next
        self._at += token.kind != "end"
        return token

    def take_keyword(self, keyword: str) -> bool:
        if self.next.keyword != keyword:
            return False
        self.take()
        return True

    def take_punctuation(self, text: str) -> bool:
        if self.next.kind != "punctuation" or self.next.text != text:
            return False
        self.take()
        return True

    def close(self) -> None:
        if not self.take_punctuation(")"):
            raise self.wrong(_("a closing parenthesis is expected"))

    def any_of(self, depth: int) -> Node:
        parts = [self.all_of(depth)]
        while self.take_keyword("OR"):
            parts.append(self.all_of(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def all_of(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while self.take_keyword("AND"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def one(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.wrong(_("the parentheses are nested too deep"))
        if self.take_punctuation("("):
            node = self.any_of(depth + 1)
            self.close()
            return node
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self.wrong(_("%(limit)d comparisons are the limit") % {"limit": MAX_COMPARISONS})
        return self.comparison()

    def comparison(self) -> Comparison:
        name = self.name()
        if self.take_keyword("IS"):
            operator = "IS NOT NULL" if self.take_keyword("NOT") else "IS NULL"
            if not self.take_keyword("NULL"):
                raise self.wrong(_("NULL is expected"))
            return Comparison(name, operator, None)
        if self.take_keyword("NOT"):
            if not self.take_keyword("IN"):
                raise self.wrong(_("IN is expected"))
            return Comparison(name, "NOT IN", self.values())
        if self.take_keyword("IN"):
            return Comparison(name, "IN", self.values())
        if self.next.keyword in ("LIKE", "ILIKE"):
            operator = self.take().keyword
            return Comparison(name, operator, self.text())
        if self.next.kind == "operator":
            operator = self.take().text
            operator = {"<>": "!=", "==": "="}.get(operator, operator)
            return Comparison(name, operator, self.value())
        raise self.wrong(
            _("a comparison is expected, one of %(list)s") % {"list": " ".join(OPERATORS)}
        )

    def name(self) -> Name:
        token = self.next
        if token.kind == "name":
            entity = ENTITIES.get(token.entity.lower())
            if entity is None:
                raise self.wrong(
                    _("%(entity)s is not among metrics, params, tags, attributes, datasets")
                    % {"entity": token.entity}
                )
        elif token.kind in ("word", "quoted", "text") and not token.keyword and token.text:
            entity = "attribute"
        else:
            raise self.wrong(_("a name is expected, e.g. metrics.loss"))
        self.take()
        return Name(entity, token.text, token.position)

    def value(self) -> float | int | str:
        if self.next.kind == "number":
            return _number(self.take().text)
        return self.text()

    def text(self) -> str:
        if self.next.kind != "text":
            raise self.wrong(_("a value is expected: a number, or a text in quotes"))
        return self.take().text

    def values(self) -> tuple[str, ...]:
        if not self.take_punctuation("("):
            raise self.wrong(_("a list in parentheses is expected"))
        texts = [self.text()]
        while self.take_punctuation(","):
            if self.take_punctuation(")"):  # as Python writes a tuple of one
                break
            texts.append(self.text())
        else:
            self.close()
        if len(texts) > MAX_VALUES:
            raise self.wrong(_("%(limit)d values are the limit") % {"limit": MAX_VALUES})
        return tuple(texts)


def _number(text: str) -> float | int:
    if len(text) <= 64 and re.fullmatch("[+-]?[0-9]+", text):
        return int(text)
    return float(text)


# --- orders ----------------------------------------------------------------------------------


def parse_orders(texts: Iterable[str]) -> list[Order]:
    """Each of ``texts`` one order, e.g. ``metrics.loss DESC``. Raises InvalidParameter."""
    orders = [_order(text) for text in texts]
    if len(orders) > MAX_ORDERS:
        raise InvalidParameter(_("%(limit)d orders are the limit.") % {"limit": MAX_ORDERS})
    return orders


def _order(text: str) -> Order:
    parser = _Parser(_tokens(text))
    name = parser.name()
    direction = parser.take().text.upper() if parser.next.kind == "word" else "ASC"
    if direction not in ("ASC", "DESC") or parser.next.kind != "end":
        raise InvalidParameter(
            _("%(text)s is no order: a name, and ASC or DESC.") % {"text": repr(text[:100])}
        )
    return Order(name, descending=direction == "DESC")
