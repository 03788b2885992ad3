"""Parser for the MLflow search language: filter strings and sort orders, parsed into plain data.

    metrics.loss < 0.5 AND (params.`batch size` = '32' OR tags.team LIKE '%nlp%')

A superset of MLflow's filters with OR and parentheses, shared by all searches; each search defines
its own names (tracking/columns.py). For any input, this module raises only InvalidParameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from django.utils.translation import gettext as _

from tracking.errors import InvalidParameter

MAX_LENGTH = 20_000  # characters
MAX_DEPTH = 50  # nested parentheses
MAX_COMPARISONS = 50
MAX_VALUES = 1000  # in one IN list
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
    """The name to compare or sort by, e.g. ("metric", "loss"), and its ``position`` in the text."""

    entity: str
    key: str
    position: int

    def __str__(self) -> str:
        return f"{self.entity}.{self.key}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operator`` is one of OPERATORS; ``value`` is a tuple for IN, None for IS.

    ``value_position`` is that of a number or text.
    """

    name: Name
    operator: str
    value: Value
    value_position: int = field(default=0, compare=False)


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


# --- tokens ----------------------------------------------------------------------------------

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
    position: int  # 0-based
    entity: str = ""

    @property
    def keyword(self) -> str:
        upper = self.text.upper()
        return upper if self.kind == "word" and upper in KEYWORDS else ""


def _tokens(text: str) -> list[Token]:
    if len(text) > MAX_LENGTH:
        raise InvalidParameter(
            _("A filter can have at most %(limit)d characters.") % {"limit": MAX_LENGTH}
        )
    if "\x00" in text:
        raise InvalidParameter(_("%(name)s contains a NUL character.") % {"name": "filter"})
    tokens = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise _syntax_error(text[position : position + 20], position, _("Unexpected token"))
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


def _syntax_error(word: str, position: int, reason: str) -> InvalidParameter:
    """``position`` is 0-based; the message shows it 1-based."""
    return InvalidParameter(
        _("Invalid filter at position %(position)d (%(word)s): %(reason)s.")
        % {"position": position + 1, "word": repr(word), "reason": reason},
        position=position,
    )


# --- filters ---------------------------------------------------------------------------------


def parse_filter(text: str, entities: Mapping[str, str] = ENTITIES) -> Node | None:
    """Parse ``text``; None for an empty filter. ``entities``: what may stand before the dot of a
    name, and what it means. Raises InvalidParameter."""
    parser = _Parser(_tokens(text), entities)
    if parser.next.kind == "end":
        return None
    node = parser.any_of(0)
    if parser.next.kind != "end":
        raise parser.error(_("Expected AND, OR, or the end of the filter"))
    return node


class _Parser:
    """Recursive descent: ORs of ANDs of comparisons and parenthesized filters."""

    def __init__(self, tokens: list[Token], entities: Mapping[str, str] = ENTITIES) -> None:
        self._tokens = tokens
        self._entities = entities
        self._at = 0
        self._comparisons = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def error(self, reason: str) -> InvalidParameter:
        return _syntax_error(self.next.text, self.next.position, reason)

    def advance(self) -> Token:
        token = self.next
        self._at += token.kind != "end"
        return token

    def accept_keyword(self, keyword: str) -> bool:
        if self.next.keyword != keyword:
            return False
        self.advance()
        return True

    def accept_punctuation(self, text: str) -> bool:
        if self.next.kind != "punctuation" or self.next.text != text:
            return False
        self.advance()
        return True

    def expect_closing(self) -> None:
        if not self.accept_punctuation(")"):
            raise self.error(_("Expected a closing parenthesis"))

    def any_of(self, depth: int) -> Node:
        parts = [self.all_of(depth)]
        while self.accept_keyword("OR"):
            parts.append(self.all_of(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def all_of(self, depth: int) -> Node:
        parts = [self.primary(depth)]
        while self.accept_keyword("AND"):
            parts.append(self.primary(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def primary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(_("Parentheses are nested too deeply"))
        if self.accept_punctuation("("):
            node = self.any_of(depth + 1)
            self.expect_closing()
            return node
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self.error(
                _("At most %(limit)d comparisons are allowed") % {"limit": MAX_COMPARISONS}
            )
        return self.comparison()

    def comparison(self) -> Comparison:
        name = self.name()
        if self.accept_keyword("IS"):
            operator = "IS NOT NULL" if self.accept_keyword("NOT") else "IS NULL"
            if not self.accept_keyword("NULL"):
                raise self.error(_("Expected NULL"))
            return Comparison(name, operator, None)
        if self.accept_keyword("NOT"):
            if not self.accept_keyword("IN"):
                raise self.error(_("Expected IN"))
            return Comparison(name, "NOT IN", self.values())
        if self.accept_keyword("IN"):
            return Comparison(name, "IN", self.values())
        if self.next.keyword in ("LIKE", "ILIKE"):
            operator = self.advance().keyword
            return Comparison(name, operator, self.text())
        if self.next.kind == "operator":
            operator = self.advance().text
            operator = {"<>": "!=", "==": "="}.get(operator, operator)
            position = self.next.position
            return Comparison(name, operator, self.value(), position)
        raise self.error(
            _("Expected a comparison operator, one of %(list)s") % {"list": " ".join(OPERATORS)}
        )

    def name(self) -> Name:
        token = self.next
        if token.kind == "name":
            entity = self._entities.get(token.entity.lower())
            if entity is None:
                raise self.error(
                    _("%(entity)s is not one of metrics, params, tags, attributes, datasets")
                    % {"entity": token.entity}
                )
        elif token.kind in ("word", "quoted", "text") and not token.keyword and token.text:
            entity = "attribute"
        else:
            raise self.error(_("Expected a name such as metrics.loss"))
        self.advance()
        return Name(entity, token.text, token.position)

    def value(self) -> float | int | str:
        if self.next.kind == "number":
            return _number(self.advance().text)
        return self.text()

    def text(self) -> str:
        if self.next.kind != "text":
            raise self.error(_("Expected a number or a quoted string"))
        return self.advance().text

    def values(self) -> tuple[str, ...]:
        if not self.accept_punctuation("("):
            raise self.error(_("Expected a list in parentheses"))
        texts = [self.text()]
        while self.accept_punctuation(","):
            if self.accept_punctuation(")"):  # trailing comma, as in a Python 1-tuple
                break
            texts.append(self.text())
        else:
            self.expect_closing()
        if len(texts) > MAX_VALUES:
            raise self.error(_("At most %(limit)d values are allowed") % {"limit": MAX_VALUES})
        return tuple(texts)


def _number(text: str) -> float | int:
    if len(text) <= 64 and re.fullmatch("[+-]?[0-9]+", text):
        return int(text)
    return float(text)


# --- sort orders -----------------------------------------------------------------------------


def parse_orders(texts: Iterable[str]) -> list[Order]:
    """Parse sort orders such as ``metrics.loss DESC``. Raises InvalidParameter."""
    orders = [_order(text) for text in texts]
    if len(orders) > MAX_ORDERS:
        raise InvalidParameter(
            _("At most %(limit)d sort orders are allowed.") % {"limit": MAX_ORDERS}
        )
    return orders


def _order(text: str) -> Order:
    parser = _Parser(_tokens(text))
    name = parser.name()
    direction = parser.advance().text.upper() if parser.next.kind == "word" else "ASC"
    if direction not in ("ASC", "DESC") or parser.next.kind != "end":
        raise InvalidParameter(
            _("Invalid sort order %(text)s; expected a name, optionally followed by ASC or DESC.")
            % {"text": repr(text[:100])}
        )
    return Order(name, descending=direction == "DESC")
