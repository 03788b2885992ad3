"""Finding the lines of a log that pass a filter: in SQL, a block of lines at a time.

LogBlock tells of most blocks that nothing in them passes, or how many lines do; what it cannot
tell is looked up in the lines. As lines are never changed, and only those below the run's
``log_count`` are looked at, several statements agree with each other without a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils.translation import gettext as _
from psycopg import errors, sql

from runs.log_blocks import BITS_ASKED, BLOCK_LINES, bits_of, block_of
from runs.log_patterns import required_texts
from trainhub.exceptions import InvalidInput


class InvalidPattern(InvalidInput):
    """PostgreSQL does not take the regular expression."""

    code = "invalid_regex"


class SearchTooSlow(InvalidInput):
    """Looking through the lines took longer than SEARCH_TIMEOUT_SECONDS."""

    code = "search_too_slow"


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: those from ``start_time`` on and before ``end_time``, of exactly this level,
    source and rank, whose message contains ``q`` (A-Z and a-z are the same) and matches ``regex``
    (PostgreSQL's, case counts). What is left empty does not filter."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    level: str = ""
    source: str = ""
    rank: int | None = None
    q: str = ""
    regex: str = ""

    def __bool__(self) -> bool:
        return self != EVERYTHING

    @property
    def is_impossible(self) -> bool:
        """No stored line holds a NUL, and PostgreSQL refuses to look for one."""
        return "\x00" in self.level + self.source + self.q + self.regex

    @property
    def reads_messages(self) -> bool:
        return bool(self.q or self.regex)

    @property
    def equalities(self) -> dict[str, str | int]:
        wanted = {"level": self.level, "source": self.source, "rank": self.rank}
        return {name: value for name, value in wanted.items() if value not in ("", None)}


EVERYTHING: Final = LogFilter()


class Row(NamedTuple):
    """A line as it is shown."""

    seq: int
    timestamp: datetime
    level: str
    source: str
    rank: int | None
    message: str


class Block(NamedTuple):
    number: int
    passing: int | None  # lines in it that pass; None: not known without reading them


class Range(NamedTuple):
    """The lines from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __bool__(self) -> bool:
        return self.first <= self.last


def check(only: LogFilter) -> None:
    """Raises InvalidPattern."""
    if only.regex and not only.is_impossible:
        with searching(only), connection.cursor() as cursor:
            cursor.execute("SELECT '' COLLATE \"C\" ~ %s", [only.regex])


@contextmanager
def searching(only: LogFilter) -> Iterator[None]:
    """Statements in the block end after SEARCH_TIMEOUT_SECONDS each.

    Raises InvalidPattern, SearchTooSlow.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                milliseconds = round(settings.SEARCH_TIMEOUT_SECONDS * 1000)
                cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
            yield
    except DatabaseError as error:
        cause = error.__cause__
        if isinstance(cause, errors.QueryCanceled):
            raise SearchTooSlow(
                _("The search takes too long; narrow it down, to a time for example."),
                attr="regex" if only.regex else "q" if only.q else None,
            ) from error
        if isinstance(cause, errors.InvalidRegularExpression | errors.StatementTooComplex):
            reason = cause.diag.message_primary or str(cause)
            raise InvalidPattern(reason, attr="regex") from error
        raise


# --- blocks ----------------------------------------------------------------------------------


def blocks(run_id: str, within: Range, only: LogFilter) -> list[Block]:
    """The blocks of ``within`` that may hold lines that pass, in order."""
    rules_out, counts = _of_blocks(only)
    query = sql.SQL(
        """
        SELECT number, count
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
        LEFT JOIN (
            SELECT number, {rules_out} AS is_out, {counts} AS count
            FROM runs_logblock
            WHERE run_id = %(run_id)s AND number BETWEEN %(first)s AND %(last)s
        ) AS block USING (number)
        WHERE is_out IS NOT TRUE
        ORDER BY number
        """
    ).format(counts=counts, rules_out=rules_out)
    bounds = {"first": block_of(within.first), "last": block_of(within.last)}
    parameters = {**_parameters(only), **bounds, "run_id": run_id}
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(cursor.cursor), parameters)
        found = [Block._make(row) for row in cursor.fetchall()]
    return [
        block if span(block, within) == span(block) else Block(block.number, None)
        for block in found
    ]


def span(block: Block, within: Range | None = None) -> Range:
    """The lines of ``block``, or those of them in ``within``."""
    first, last = block.number * BLOCK_LINES + 1, (block.number + 1) * BLOCK_LINES
    if within is None:
        return Range(first, last)
    return Range(max(first, within.first), min(last, within.last))


def _of_blocks(only: LogFilter) -> tuple[sql.Composable, sql.Composable]:
    """(when a summary rules its block out, how many of its lines pass or NULL)."""
    out: list[sql.Composable] = []
    whole: list[sql.Composable] = []
    if only.start_time is not None:
        out.append(sql.SQL("last_time < %(start_time)s"))
        whole.append(sql.SQL("first_time >= %(start_time)s"))
    if only.end_time is not None:
        out.append(sql.SQL("first_time >= %(end_time)s"))
        whole.append(sql.SQL("last_time < %(end_time)s"))
    for name in only.equalities:
        out.append(sql.SQL(f"NOT tallies -> '{name}' ? %({name}_key)s"))
    out += [sql.SQL(f"get_bit(trigrams, {bit}) = 0") for bit in _bits(only)]
    count = _count_of_block(only)
    if whole:
        count = sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" AND ").join(whole), count)
    return sql.SQL(" OR ").join(out) if out else sql.SQL("false"), count


def _count_of_block(only: LogFilter) -> sql.Composable:
    if only.reads_messages or len(only.equalities) > 1:
        return sql.SQL("NULL::int")
    for name in only.equalities:
        return sql.SQL(f"(tallies -> '{name}' ->> %({name}_key)s)::int")
    return sql.Literal(BLOCK_LINES)


def _bits(only: LogFilter) -> list[int]:
    texts = [only.q, *required_texts(only.regex)]
    return [bit for text in texts for bit in bits_of(text)][:BITS_ASKED]


# --- lines -----------------------------------------------------------------------------------


def count_each(run_id: str, found: Sequence[Block], within: Range, only: LogFilter) -> list[Block]:
    """``found`` with what passes counted, without the blocks where nothing passes."""
    unknown = [block for block in found if block.passing is None]
    if not unknown:
        return list(found)
    query = sql.SQL(
        """
        SELECT (seq - 1) / {block_lines}, count(*) FROM {lines} GROUP BY 1
        """
    )
    counts = dict(_select(query, run_id, unknown, within, only))
    known = (
        Block(number, counts.get(number, 0) if passing is None else passing)
        for number, passing in found
    )
    return [block for block in known if block.passing]


def lines_of(
    run_id: str,
    found: Sequence[Block],
    within: Range,
    only: LogFilter,
    *,
    limit: int,
    offset: int = 0,
    newest_first: bool = False,
) -> list[Row]:
    """The lines of the blocks ``found`` that pass; ``limit`` of them after the first ``offset``."""
    if not found:
        return []
    query = sql.SQL(
        """
        SELECT {columns} FROM {lines} ORDER BY seq {order}
        LIMIT %(limit)s OFFSET %(offset)s
        """
    )
    order = sql.SQL("DESC" if newest_first else "ASC")
    rows = _select(query, run_id, found, within, only, order=order, limit=limit, offset=offset)
    return [Row._make(row) for row in rows]


NOTHING: Final = sql.SQL("")
COLUMNS: Final = sql.SQL(", ").join(sql.Identifier(name) for name in Row._fields)

# As it is, so that PostgreSQL is free to scan in parallel.
ONE_RANGE: Final = sql.SQL(
    "(SELECT {columns} FROM runs_logline WHERE {passes} AND seq BETWEEN %(first)s AND %(last)s)"
    " AS line"
)
# Each range by the key: OFFSET 0 keeps PostgreSQL from reading the whole log for all at once.
RANGES: Final = sql.SQL(
    "unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS wanted (first, last) CROSS JOIN LATERAL "
    "(SELECT {columns} FROM runs_logline WHERE {passes}"
    " AND seq BETWEEN wanted.first AND wanted.last OFFSET 0) AS line"
)


def _select(
    query: sql.SQL,
    run_id: str,
    found: Sequence[Block],
    within: Range,
    only: LogFilter,
    *,
    order: sql.Composable = NOTHING,
    **parameters: Any,
) -> list[tuple[Any, ...]]:
    ranges = _ranges(found, within)
    passes = sql.SQL(" AND ").join([sql.SQL("run_id = %(run_id)s"), *_conditions(only)])
    if len(ranges) == 1:
        lines = ONE_RANGE.format(columns=COLUMNS, passes=passes)
        parameters |= ranges[0]._asdict()
    else:
        lines = RANGES.format(columns=COLUMNS, passes=passes)
        parameters |= {
            "firsts": [item.first for item in ranges],
            "lasts": [item.last for item in ranges],
        }
    composed = query.format(
        block_lines=sql.Literal(BLOCK_LINES), columns=COLUMNS, lines=lines, order=order
    )
    with connection.cursor() as cursor:
        cursor.execute(
            composed.as_string(cursor.cursor),
            {"run_id": run_id, **parameters, **_parameters(only)},
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _ranges(found: Sequence[Block], within: Range) -> list[Range]:
    """The lines of ``found``, neighbouring blocks as one."""
    ordered = sorted(found)
    starts = [
        0,
        *(
            at
            for at, (one, next_one) in enumerate(pairwise(ordered), 1)
            if next_one.number != one.number + 1
        ),
        len(ordered),
    ]
    return [
        Range(span(ordered[start], within).first, span(ordered[end - 1], within).last)
        for start, end in pairwise(starts)
    ]


def _conditions(only: LogFilter) -> list[sql.Composable]:
    conditions = []
    if only.start_time is not None:
        conditions.append("timestamp >= %(start_time)s")
    if only.end_time is not None:
        conditions.append("timestamp < %(end_time)s")
    conditions += [f"{name} = %({name})s" for name in only.equalities]
    if only.q:
        conditions.append('strpos(lower(message COLLATE "C"), %(q)s) > 0')
    if only.regex:
        conditions.append('message COLLATE "C" ~ %(regex)s')
    return [sql.SQL(condition) for condition in conditions]


def _parameters(only: LogFilter) -> dict[str, Any]:
    return {
        "start_time": only.start_time,
        "end_time": only.end_time,
        "q": only.q.encode().lower().decode(),
        "regex": only.regex,
        **only.equalities,
        **{f"{name}_key": str(value) for name, value in only.equalities.items()},
    }
