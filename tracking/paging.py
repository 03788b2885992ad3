"""Keyset pagination for searches: a page token holds the sort values of the last row returned.

Every page costs the same as the first one, and rows that are added or deleted between pages never
make a row appear twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import orjson
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.db.models.lookups import Exact, GreaterThan, IsNull, LessThan
from django.utils.translation import gettext as _

from core.numbers import NON_FINITE, json_number
from core.times import EPOCH
from tracking.conditions import Column, Columns, Kind, is_nan, sort_expression
from tracking.errors import InvalidParameter
from tracking.filters import Name, Order

MICROSECOND = timedelta(microseconds=1)
MAX_TOKEN_LENGTH = 100_000
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Page:
    """The ids of the matching rows, and whether there are more."""

    ids: list[Any]
    is_last: bool
    encode: Callable[[int], str]  # index in ``ids`` -> token for the page after it

    @property
    def next_token(self) -> str:
        return self.token_after(len(self.ids))

    def token_after(self, count: int) -> str:
        """Token for the page after the first ``count`` ids; empty at the end of the results."""
        at_end = count == 0 or (self.is_last and count == len(self.ids))
        return "" if at_end else self.encode(count - 1)


@dataclass(frozen=True)
class Term:
    """One sort term. In either direction, missing values sort last and NaN just before them."""

    column: Column
    descending: bool

    @cached_property
    def expression(self) -> Any:
        return sort_expression(self.column)

    def order_by(self) -> list[OrderBy]:
        by_value = OrderBy(self.expression, descending=self.descending, nulls_last=True)
        if self.column.kind is not Kind.NUMBER:
            return [by_value]
        return [OrderBy(is_nan(self.expression), nulls_last=True), by_value]

    def equal(self, value: Any) -> Q:
        if value is None:
            return Q(IsNull(self.expression, True))
        return Q(Exact(self.expression, value))

    def after(self, value: Any) -> Q | None:
        """Rows that sort after ``value``; None if there can be none."""
        if value is None:
            return None
        missing = Q(IsNull(self.expression, True))
        if self.column.kind is not Kind.NUMBER:
            return self._beyond(value) | missing
        nan = Q(is_nan(self.expression))
        return missing if math.isnan(value) else (self._beyond(value) & ~nan) | nan | missing

    def _beyond(self, value: Any) -> Q:
        return Q((LessThan if self.descending else GreaterThan)(self.expression, value))

    def encode(self, value: Any) -> Any:
        """Convert ``value`` to JSON."""
        if isinstance(value, datetime):
            return (value - EPOCH) // MICROSECOND
        return json_number(value) if isinstance(value, float) else value

    def decode(self, value: Any) -> Any:
        """Inverse of ``encode``. Raises ValueError, OverflowError for anything else."""
        if value is None:
            return None
        if self.column.kind is Kind.TIME and type(value) is int:
            return EPOCH + MICROSECOND * value
        if self.column.kind is Kind.INTEGER and type(value) is int:
            return value
        if self.column.kind is Kind.NUMBER and type(value) in (int, float):
            return float(value)
        if self.column.kind is Kind.NUMBER and value in NON_FINITE:
            return float(value)
        is_text = self.column.kind in (Kind.TEXT, Kind.PARAM)
        if is_text and isinstance(value, str) and "\x00" not in value:
            return value
        raise ValueError(value)


class Ordering:
    """Sorts by ``orders``, then ``default``, then the id, so that the order is total."""

    def __init__(self, orders: Sequence[Order], default: Order, columns: Columns) -> None:
        names = {(order.name.entity, order.name.key) for order in orders}
        if (default.name.entity, default.name.key) not in names:
            orders = [*orders, default]
        self._terms = [Term(columns.sorting(order.name), order.descending) for order in orders]
        self._terms.append(Term(columns.PRIMARY_KEY, descending=False))
        signature = repr(
            [(order.name.entity, order.name.key, order.descending) for order in orders]
        )
        self._digest = hashlib.sha256(signature.encode()).hexdigest()[:12]

    def page(self, rows: QuerySet[Any], *, token: str, limit: int) -> Page:
        """The ids of the ``limit`` rows after ``token``, or of the first rows if it is empty.

        Raises InvalidParameter for a token of a different sort order.
        """
        if token:
            rows = rows.filter(self._after(self._decode(token)))
        rows = rows.order_by(*(key for term in self._terms for key in term.order_by()))
        values = {f"order_{number}": term.expression for number, term in enumerate(self._terms)}
        fetched = list(rows.annotate(**values).values_list(*values)[: limit + 1])
        ids = [row[-1] for row in fetched[:limit]]
        return Page(ids, len(fetched) <= limit, lambda index: self._encode(fetched[index]))

    def _after(self, values: Sequence[Any]) -> Q:
        """Rows lexicographically after ``values``, one value per term."""
        condition = Q()
        equal_so_far = Q()
        for term, value in zip(self._terms, values, strict=True):
            after = term.after(value)
            if after is not None:
                condition |= equal_so_far & after
            equal_so_far &= term.equal(value)
        return condition

    def _encode(self, row: Sequence[Any]) -> str:
        values = [term.encode(value) for term, value in zip(self._terms, row, strict=True)]
        return base64.urlsafe_b64encode(orjson.dumps([self._digest, *values])).decode()

    def _decode(self, token: str) -> list[Any]:
        try:
            if len(token) > MAX_TOKEN_LENGTH:
                raise ValueError(len(token))
            content = orjson.loads(base64.b64decode(token, altchars=b"-_", validate=True))
            if not isinstance(content, list) or content[:1] != [self._digest]:
                raise ValueError(content)
            values = zip(self._terms, content[1:], strict=True)
            decoded = [term.decode(value) for term, value in values]
            if decoded[-1] is None:
                raise ValueError(decoded)
            return decoded
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidParameter(_("Invalid page token for this search.")) from None


def in_order(rows: QuerySet[M], ids: Sequence[Any]) -> list[M]:
    """Fetch the rows in the order of ``ids``, skipping rows deleted in the meantime."""
    by_id = rows.in_bulk(list(ids))
    return [by_id[id] for id in ids if id in by_id]


START = Order(Name("attribute", "start_time", 0), descending=True)
CREATION = Order(Name("attribute", "creation_time", 0), descending=True)
UPDATE = Order(Name("attribute", "last_updated_timestamp", 0), descending=True)
NAME = Order(Name("attribute", "name", 0), descending=False)
