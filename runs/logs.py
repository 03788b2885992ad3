"""Reading a run's log: pages at any depth, filters, and the tail as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connection

from runs import log_search
from runs.log_blocks import BLOCK_LINES
from runs.log_search import COLUMNS, EVERYTHING, Block, LogFilter, Range, Row
from runs.models import Run

__all__ = ["EVERYTHING", "NOTHING", "LogFilter", "LogPage", "after", "download", "page", "tail"]


@dataclass(frozen=True, slots=True)
class LogPage:
    total: int  # lines that pass the filter, on every page together
    items: list[Row]
    next_after_seq: int | None  # where the lines after this page begin; None for newest first


NOTHING = LogPage(0, [], None)


def page(
    run: Run,
    page: int,
    page_size: int,
    only: LogFilter = EVERYTHING,
    *,
    after_seq: int = 0,
    newest_first: bool = False,
) -> LogPage:
    """Page ``page`` (from 1) of the lines after number ``after_seq`` that pass ``only``.

    Past the end there are no items. Without a filter a page is a range of ``seq``, and the total
    stands on the run's row: the last page of a long log costs what the first does.
    Raises log_search.InvalidPattern, SearchTooSlow.
    """
    within = Range(after_seq + 1, run.log_count)
    first = (page - 1) * page_size
    if only:
        total, items = _found(run, within, only, first, page_size, newest_first=newest_first)
    else:
        total = max(0, run.log_count - after_seq)
        items = _unfiltered(run, within, first, page_size, newest_first=newest_first)
    ahead = first + len(items) < total
    cursor = items[-1].seq if items and ahead else max(after_seq, run.log_count)
    return LogPage(total, items, None if newest_first else cursor)


def _unfiltered(
    run: Run, within: Range, first: int, count: int, *, newest_first: bool
) -> list[Row]:
    if newest_first:
        last = within.last - first
        wanted = Range(max(within.first, last - count + 1), last)
    else:
        start = within.first + first
        wanted = Range(start, min(within.last, start + count - 1))
    rows = _lines(run, wanted)
    return rows[::-1] if newest_first else rows


LINES = "SELECT {} FROM runs_logline WHERE run_id = %s AND seq BETWEEN %s AND %s ORDER BY seq"


def _lines(run: Run, wanted: Range) -> list[Row]:
    """One statement and no model: pages of logs are asked for all the time."""
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(LINES.format(COLUMNS.as_string()), [run.pk, wanted.first, wanted.last])
        return [Row._make(row) for row in cursor.fetchall()]


def _found(
    run: Run, within: Range, only: LogFilter, first: int, count: int, *, newest_first: bool
) -> tuple[int, list[Row]]:
    """(how many lines pass, ``count`` of them after the first ``first``)."""
    log_search.check(only)
    if only.is_impossible or not within:
        return 0, []
    with log_search.searching(only):
        blocks = log_search.blocks(run.pk, within, only)
        blocks = log_search.count_each(run.pk, blocks, within, only)
        total = sum(block.passing or 0 for block in blocks)
        if newest_first:
            blocks.reverse()
        holding, offset = _holding(blocks, first, count)
        rows = log_search.lines_of(
            run.pk,
            holding,
            within,
            only,
            limit=count,
            offset=offset,
            newest_first=newest_first,
        )
    return total, rows


def _holding(blocks: Sequence[Block], first: int, count: int) -> tuple[list[Block], int]:
    """The blocks with the lines ``first`` to ``first + count``, and how many stand before them."""
    holding: list[Block] = []
    before = offset = 0
    for block in blocks:
        lines = block.passing or 0
        if before + lines > first:
            if not holding:
                offset = first - before
            holding.append(block)
        before += lines
        if before >= first + count:
            break
    return holding, offset


def after(run: Run, seq: int, limit: int, only: LogFilter = EVERYTHING) -> list[Row]:
    """The next lines after number ``seq``, ``limit`` at most.

    Raises log_search.InvalidPattern, SearchTooSlow.
    """
    return _first(run, Range(seq + 1, run.log_count), limit, only, newest_first=False)


def tail(run: Run, limit: int, only: LogFilter = EVERYTHING) -> list[Row]:
    """The newest lines, ``limit`` at most, in the order they were written.

    Raises log_search.InvalidPattern, SearchTooSlow.
    """
    return _first(run, Range(1, run.log_count), limit, only, newest_first=True)[::-1]


def _first(
    run: Run, within: Range, limit: int, only: LogFilter, *, newest_first: bool
) -> list[Row]:
    if not only:
        return _unfiltered(run, within, 0, limit, newest_first=newest_first)
    log_search.check(only)
    if only.is_impossible or not within:
        return []
    rows: list[Row] = []
    with log_search.searching(only):
        blocks = log_search.blocks(run.pk, within, only)
        if newest_first:
            blocks.reverse()
        look_into = 1
        while blocks and len(rows) < limit:
            # More at a time the longer nothing is found.
            some, blocks = blocks[:look_into], blocks[look_into:]
            look_into *= 4
            rows += log_search.lines_of(
                run.pk, some, within, only, limit=limit - len(rows), newest_first=newest_first
            )
    return rows


def download(run: Run, only: LogFilter = EVERYTHING) -> Iterator[list[Row]]:
    """Every line that passes, some at a time, so that a log of any length fits in the memory.

    Raises log_search.InvalidPattern at once, SearchTooSlow on the way.
    """
    log_search.check(only)
    within = Range(1, run.log_count)
    if only.is_impossible or not within:
        return iter(())
    if not only:
        numbers = range(1, run.log_count + 1, BLOCK_LINES)
        return (
            _lines(run, Range(first, min(first + BLOCK_LINES - 1, run.log_count)))
            for first in numbers
        )
    return _found_by_block(run, within, only)


def _found_by_block(run: Run, within: Range, only: LogFilter) -> Iterator[list[Row]]:
    with log_search.searching(only):
        blocks = log_search.blocks(run.pk, within, only)
    for block in blocks:
        with log_search.searching(only):
            rows = log_search.lines_of(run.pk, [block], within, only, limit=BLOCK_LINES)
        yield rows
