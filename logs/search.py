"""Find the lines of a log that match a filter: in SQL, block by block.

For most blocks LogBlock shows that no line matches, or how many do; the lines of the others are
read. Lines never change and only those up to the run's ``log_count`` are read, so several
statements are consistent with each other without a transaction.
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

from core.exceptions import InvalidInput
from logs.blocks import BLOCK_LINES, MAX_QUERY_BITS, bits_of, block_of
from logs.lines import Line
from logs.patterns import required_texts

MAX_PATTERN_LENGTH: Final = 500  # of ``q`` and ``regex``


class InvalidPattern(InvalidInput):
    """PostgreSQL rejects the regular expression."""

    code = "invalid_regex"


class SearchTooSlow(InvalidInput):
    """A statement of the search took longer than SEARCH_TIMEOUT_SECONDS."""

    code = "search_too_slow"


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Matches lines from ``start_time`` (inclusive) to ``end_time`` (exclusive) with exactly this
    level, source and rank, whose message contains ``q`` (ignoring the case of A-Z) and matches
    ``regex`` (PostgreSQL's syntax, case-sensitive). Empty fields match every line."""

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
    def matches_nothing(self) -> bool:
        """No stored line contains a NUL, and PostgreSQL rejects NULs in parameters."""
        return "\x00" in self.level + self.source + self.q + self.regex

    @property
    def reads_messages(self) -> bool:
        return bool(self.q or self.regex)

    @property
    def equalities(self) -> dict[str, str | int]:
        fields = {"level": self.level, "source": self.source, "rank": self.rank}
        return {name: value for name, value in fields.items() if value not in ("", None)}


EVERYTHING: Final = LogFilter()


class Block(NamedTuple):
    number: int
    matching: int | None  # lines that match the filter; None: unknown until they are read


class Range(NamedTuple):
    """The lines from ``first`` to ``last``, inclusive."""

    first: int
    last: int

    def __bool__(self) -> bool:
        return self.first <= self.last


def check(log_filter: LogFilter) -> None:
    """Raise InvalidPattern if PostgreSQL rejects the regular expression."""
    if log_filter.regex and not log_filter.matches_nothing:
        with searching(log_filter), connection.cursor() as cursor:
            cursor.execute("SELECT '' COLLATE \"C\" ~ %s", [log_filter.regex])


@contextmanager
def searching(log_filter: LogFilter) -> Iterator[None]:
    """Limit each statement in the block to SEARCH_TIMEOUT_SECONDS.

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
                _("The search takes too long. Narrow it down, for example by time."),
                attr="regex" if log_filter.regex else "q" if log_filter.q else None,
            ) from error
        if isinstance(cause, errors.InvalidRegularExpression | errors.StatementTooComplex):
            reason = cause.diag.message_primary or str(cause)
            raise InvalidPattern(reason, attr="regex") from error
        raise


# --- blocks ----------------------------------------------------------------------------------


def candidate_blocks(run_id: str, within: Range, log_filter: LogFilter) -> list[Block]:
    """The blocks of ``within`` that may contain matching lines, in order."""
    rules_out, counts = _block_conditions(log_filter)
    query = sql.SQL(
        """
        SELECT number, count
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
        LEFT JOIN (
            SELECT number, {rules_out} AS is_out, {counts} AS count
            FROM logs_logblock
            WHERE run_id = %(run_id)s AND number BETWEEN %(first)s AND %(last)s
        ) AS block USING (number)
        WHERE is_out IS NOT TRUE
        ORDER BY number
        """
    ).format(counts=counts, rules_out=rules_out)
    bounds = {"first": block_of(within.first), "last": block_of(within.last)}
    parameters = {**_parameters(log_filter), **bounds, "run_id": run_id}
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(cursor.cursor), parameters)
        candidates = [Block._make(row) for row in cursor.fetchall()]
    return [
        block if span(block, within) == span(block) else Block(block.number, None)
        for block in candidates
    ]


def span(block: Block, within: Range | None = None) -> Range:
    """The lines of ``block``, limited to ``within``."""
    first, last = block.number * BLOCK_LINES + 1, (block.number + 1) * BLOCK_LINES
    if within is None:
        return Range(first, last)
    return Range(max(first, within.first), min(last, within.last))


def _block_conditions(log_filter: LogFilter) -> tuple[sql.Composable, sql.Composable]:
    """(whether a summary rules its block out, number of its matching lines or NULL)."""
    out: list[sql.Composable] = []
    whole: list[sql.Composable] = []
    if log_filter.start_time is not None:
        out.append(sql.SQL("last_time < %(start_time)s"))
        whole.append(sql.SQL("first_time >= %(start_time)s"))
    if log_filter.end_time is not None:
        out.append(sql.SQL("first_time >= %(end_time)s"))
        whole.append(sql.SQL("last_time < %(end_time)s"))
    for name in log_filter.equalities:
        out.append(sql.SQL(f"NOT tallies -> '{name}' ? %({name}_key)s"))
    out += [sql.SQL(f"get_bit(trigrams, {bit}) = 0") for bit in _bits(log_filter)]
    count = _count_of_block(log_filter)
    if whole:
        count = sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" AND ").join(whole), count)
    return sql.SQL(" OR ").join(out) if out else sql.SQL("false"), count


def _count_of_block(log_filter: LogFilter) -> sql.Composable:
    if log_filter.reads_messages or len(log_filter.equalities) > 1:
        return sql.SQL("NULL::int")
    for name in log_filter.equalities:
        return sql.SQL(f"(tallies -> '{name}' ->> %({name}_key)s)::int")
    return sql.Literal(BLOCK_LINES)


def _bits(log_filter: LogFilter) -> list[int]:
    texts = [log_filter.q, *required_texts(log_filter.regex)]
    return [bit for text in texts for bit in bits_of(text)][:MAX_QUERY_BITS]


# --- lines -----------------------------------------------------------------------------------


def count_matches(
    run_id: str, blocks: Sequence[Block], within: Range, log_filter: LogFilter
) -> list[Block]:
    """``blocks`` with their matching lines counted, without the blocks that have none."""
    uncounted = [block for block in blocks if block.matching is None]
    if not uncounted:
        return list(blocks)
    query = sql.SQL(
        """
        SELECT (seq - 1) / {block_lines}, count(*) FROM {lines} GROUP BY 1
        """
    )
    counts = dict(_select(query, run_id, uncounted, within, log_filter))
    counted = (
        Block(number, counts.get(number, 0) if matching is None else matching)
        for number, matching in blocks
    )
    return [block for block in counted if block.matching]


def matching_lines(
    run_id: str,
    blocks: Sequence[Block],
    within: Range,
    log_filter: LogFilter,
    *,
    limit: int,
    offset: int = 0,
    newest_first: bool = False,
) -> list[Line]:
    """``limit`` matching lines of ``blocks`` after the first ``offset``."""
    if not blocks:
        return []
    query = sql.SQL(
        """
        SELECT {columns} FROM {lines} ORDER BY seq {order}
        LIMIT %(limit)s OFFSET %(offset)s
        """
    )
    order = sql.SQL("DESC" if newest_first else "ASC")
    rows = _select(
        query, run_id, blocks, within, log_filter, order=order, limit=limit, offset=offset
    )
    return [Line.read(row) for row in rows]


EMPTY: Final = sql.SQL("")
COLUMNS: Final = sql.SQL(", ").join(sql.Identifier(name) for name in Line._fields)

# A plain subquery, so that PostgreSQL can scan in parallel.
ONE_RANGE: Final = sql.SQL(
    "(SELECT {columns} FROM logs_logline WHERE {matches} AND seq BETWEEN %(first)s AND %(last)s)"
    " AS line"
)
# OFFSET 0 makes PostgreSQL look up each range by the primary key instead of reading the whole log.
RANGES: Final = sql.SQL(
    "unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS requested (first, last)"
    " CROSS JOIN LATERAL (SELECT {columns} FROM logs_logline WHERE {matches}"
    " AND seq BETWEEN requested.first AND requested.last OFFSET 0) AS line"
)


def _select(
    query: sql.SQL,
    run_id: str,
    blocks: Sequence[Block],
    within: Range,
    log_filter: LogFilter,
    *,
    order: sql.Composable = EMPTY,
    **parameters: Any,
) -> list[tuple[Any, ...]]:
    ranges = _ranges(blocks, within)
    matches = sql.SQL(" AND ").join([sql.SQL("run_id = %(run_id)s"), *_conditions(log_filter)])
    if len(ranges) == 1:
        lines = ONE_RANGE.format(columns=COLUMNS, matches=matches)
        parameters |= ranges[0]._asdict()
    else:
        lines = RANGES.format(columns=COLUMNS, matches=matches)
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
            {"run_id": run_id, **parameters, **_parameters(log_filter)},
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _ranges(blocks: Sequence[Block], within: Range) -> list[Range]:
    """The lines of ``blocks``, with adjacent blocks merged."""
    ordered = sorted(blocks)
    starts = [
        0,
        *(
            index
            for index, (block, next_block) in enumerate(pairwise(ordered), 1)
            if next_block.number != block.number + 1
        ),
        len(ordered),
    ]
    return [
        Range(span(ordered[start], within).first, span(ordered[end - 1], within).last)
        for start, end in pairwise(starts)
    ]


def _conditions(log_filter: LogFilter) -> list[sql.Composable]:
    conditions = []
    if log_filter.start_time is not None:
        conditions.append("timestamp >= %(start_time)s")
    if log_filter.end_time is not None:
        conditions.append("timestamp < %(end_time)s")
    conditions += [f"{name} = %({name})s" for name in log_filter.equalities]
    if log_filter.q:
        conditions.append('strpos(lower(message COLLATE "C"), %(q)s) > 0')
    if log_filter.regex:
        conditions.append('message COLLATE "C" ~ %(regex)s')
    return [sql.SQL(condition) for condition in conditions]


def _parameters(log_filter: LogFilter) -> dict[str, Any]:
    return {
        "start_time": log_filter.start_time,
        "end_time": log_filter.end_time,
        "q": log_filter.q.encode().lower().decode(),
        "regex": log_filter.regex,
        **log_filter.equalities,
        **{f"{name}_key": str(value) for name, value in log_filter.equalities.items()},
    }
