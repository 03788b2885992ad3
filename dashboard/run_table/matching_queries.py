"""SQL that joins what querysets select of indexed runs and of all others. The ORM builds the parts;
it can neither order and limit each part of a union by the table's rules nor group a union."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy

from runs.param_values import GREATEST_EXACT
from tracking.conditions import is_nan

NEWEST: Final = (F("created_at").desc(), F("id").asc())
NEWEST_SQL: Final = "created_at DESC, id"


@dataclass(frozen=True, slots=True)
class Term:
    """What runs are sorted by. Those without it come last, those with NaN just before them."""

    expression: Any
    descending: bool
    may_be_nan: bool = False

    @property
    def in_index_order(self) -> OrderBy:
        """For rows that have it."""
        return OrderBy(self.expression, descending=self.descending)

    @property
    def keys(self) -> list[OrderBy]:
        by_value = OrderBy(self.expression, descending=self.descending, nulls_last=True)
        if not self.may_be_nan:
            return [by_value]
        return [OrderBy(is_nan(self.expression), nulls_last=True), by_value]

    def sql(self, column: str) -> str:
        """The same for a column of a statement."""
        by_value = f"{column} {'DESC' if self.descending else 'ASC'} NULLS LAST"
        return f"{column} = 'NaN' NULLS LAST, {by_value}" if self.may_be_nan else by_value


@dataclass(frozen=True, slots=True)
class Sql:
    text: str
    parameters: tuple[Any, ...]


class Parts:
    """Common table expressions, each with the first ``stop`` runs of a queryset (None: all) and
    what they are sorted by."""

    def __init__(self, stop: int | None) -> None:
        self._stop = stop
        self._parts: list[Sql] = []

    def add(self, rows: QuerySet[Any], terms: Sequence[Term], *, is_rest: bool = False) -> None:
        """``is_rest``: the parts before, which sort before this one, may have enough runs: then
        PostgreSQL does not read it."""
        values = {f"order_{number}": term.expression for number, term in enumerate(terms)}
        columns = [*values, "created_at", "id"]
        compiled = _compiled(rows.annotate(**values).values_list(*columns)[: self._stop])
        if compiled is None:
            return
        selected = compiled.text
        if is_rest and self._parts and self._stop is not None:
            counts = (f"(SELECT count(*) FROM part_{n})" for n in range(len(self._parts)))  # noqa: S608
            selected = (
                f"SELECT * FROM ({selected}) AS rest WHERE {' + '.join(counts)} < {self._stop}"  # noqa: S608
            )
        name = f"part_{len(self._parts)} ({', '.join(columns)})"
        self._parts.append(Sql(f"{name} AS MATERIALIZED ({selected})", compiled.parameters))

    def ids(self, terms: Sequence[Term], start: int) -> list[str]:
        """Of all of them in order, from number ``start`` on."""
        if not self._parts:
            return []
        keys = [term.sql(f"order_{number}") for number, term in enumerate(terms)]
        every = " UNION ALL ".join(f"SELECT * FROM part_{n}" for n in range(len(self._parts)))  # noqa: S608
        limit = "ALL" if self._stop is None else max(0, self._stop - start)
        statement = Sql(
            f"WITH {', '.join(part.text for part in self._parts)} "  # noqa: S608
            f"SELECT id FROM ({every}) AS found "
            f"ORDER BY {', '.join([*keys, NEWEST_SQL])} OFFSET {start} LIMIT {limit}",
            _parameters(self._parts),
        )
        return [pk for (pk,) in _fetched(statement)]


Values: TypeAlias = tuple[QuerySet[Any], Sequence[Any]]  # runs, and expressions of them


def slice_and_count(
    sides: Iterable[Values], terms: Sequence[Term], start: int, stop: int | None
) -> tuple[list[str], int]:
    """The IDs of the runs from number ``start`` to ``stop``, and how many runs there are in all; 0
    if there are none after ``start``. Of each side the expressions are those of ``terms``."""
    orders = [f"order_{number}" for number in range(len(terms))]
    every = _union(((rows, [*values, F("created_at"), F("id")]) for rows, values in sides))
    if every is None:
        return [], 0
    keys = [term.sql(order) for term, order in zip(terms, orders, strict=True)]
    limit = "ALL" if stop is None else max(0, stop - start)
    found = _fetched_by_hashing(
        Sql(
            f"SELECT id, count(*) OVER () "  # noqa: S608
            f"FROM ({every.text}) AS runs ({', '.join([*orders, 'created_at', 'id'])}) "
            f"ORDER BY {', '.join([*keys, NEWEST_SQL])} OFFSET {start} LIMIT {limit}",
            every.parameters,
        )
    )
    return [pk for pk, _count in found], found[0][1] if found else 0


# Of a metric's values in a group: what is not finite has no mean. Nor has what is beyond 1e140, as
# a perplexity is after a spike: PostgreSQL raises an error if a sum of squares overflows, and it
# squares up to the number of runs times as much.
FINITE: Final = "{0} > '-Infinity' AND {0} < 'Infinity'"
SUMMABLE: Final = "{0} BETWEEN -1e140 AND 1e140"
AGGREGATES: Final = {
    "mean": f"avg({{0}}) FILTER (WHERE {SUMMABLE})",
    "deviation": f"stddev_samp({{0}}) FILTER (WHERE {SUMMABLE})",
    "least": f"min({{0}}) FILTER (WHERE {FINITE})",
    "greatest": f"max({{0}}) FILTER (WHERE {FINITE})",
}

# NULL of values that no double tells from others.
EXACT_NUMBER: Final = f"CASE WHEN abs(number::float8) < {GREATEST_EXACT} THEN number END"


def groups(sides: Iterable[Values], *, order: str, limit: int) -> list[tuple[Any, ...]]:
    """The runs by value: the value, its number or None, how many runs have it, and AGGREGATES of
    each further value. Texts of the same number (5e-05, 0.00005) are one value.

    Of each side the expressions are the value to group by, its number (or NULL), and the further
    ones. ``order``: SQL that names these ``grouped_by``, ``number`` and, as means, ``mean_0`` ….
    """
    sides = list(sides)
    every = _union(sides)
    if every is None:
        return []
    count = len(sides[0][1]) - 2
    values = [f"value_{number}" for number in range(count)]
    aggregates = {
        f"{name}_{number}": aggregate.format(value)
        for number, value in enumerate(values)
        for name, aggregate in AGGREGATES.items()
    }
    computed = [f"{sql} AS {name}" for name, sql in aggregates.items()]
    statement = Sql(
        f"SELECT {', '.join(['grouped_by', EXACT_NUMBER, 'count', *aggregates])} FROM ("  # noqa: S608
        f"SELECT {', '.join(['min(given) AS grouped_by', 'number', 'count(*)', *computed])} "
        f"FROM ({every.text}) AS runs ({', '.join(['given', 'number', *values])}) "
        f"GROUP BY number, CASE WHEN {EXACT_NUMBER} IS NULL THEN given END) AS found "
        f"ORDER BY {order} LIMIT {limit}",
        every.parameters,
    )
    return _fetched_by_hashing(statement)


def _union(sides: Iterable[Values]) -> Sql | None:
    """A row of values for each run of each side; None if there can be none."""
    selected = []
    for rows, expressions in sides:
        aliases = {f"value_of_{n}": expression for n, expression in enumerate(expressions)}
        compiled = _compiled(rows.order_by().annotate(**aliases).values_list(*aliases))
        if compiled is not None:
            selected.append(compiled)
    if not selected:
        return None
    every = " UNION ALL ".join(f"({part.text})" for part in selected)
    return Sql(every, _parameters(selected))


def _compiled(rows: QuerySet[Any]) -> Sql | None:
    """None if no row can match."""
    try:
        text, parameters = rows.query.sql_with_params()
    except EmptyResultSet:
        return None
    return Sql(text, tuple(parameters))


def _parameters(statements: Iterable[Sql]) -> tuple[Any, ...]:
    return tuple(value for statement in statements for value in statement.parameters)


def _fetched(statement: Sql) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement.text, statement.parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _fetched_by_hashing(statement: Sql) -> list[tuple[Any, ...]]:
    """For a statement that looks at all runs of a project: without nested loops.

    PostgreSQL knows how often a value occurs, and how many values a column has, but not how often
    it does in this column: it expects two runs where there are thousands and looks each up. To
    hash all of them costs less than that from a few thousand on, and little if there are few.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(statement.text, statement.parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.execute("SET LOCAL enable_nestloop TO DEFAULT")
        return rows
