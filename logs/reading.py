"""Reading a run's log: pages at any depth, filters, and the tail as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connection

from logs import search
from logs.blocks import BLOCK_LINES
from logs.lines import Line
from logs.search import COLUMNS, EVERYTHING, Block, LogFilter, Range
from runs.models import Run

__all__ = ["EVERYTHING", "NOTHING", "LogFilter", "LogPage", "after", "download", "page", "tail"]


@dataclass(frozen=True, slots=True)
class LogPage:
    total: int  # lines that match the filter, on all pages
    items: list[Line]
    next_after_seq: int | None  # cursor of the next page; None if newest first


NOTHING = LogPage(0, [], None)


def page(
    run: Run,
    page: int,
    page_size: int,
    log_filter: LogFilter = EVERYTHING,
    *,
    after_seq: int = 0,
    newest_first: bool = False,
) -> LogPage:
    """Page ``page`` (from 1) of the lines after number ``after_seq`` that match ``log_filter``.

    Past the end there are no items. Without a filter a page is a range of ``seq``, and the total
    is on the run's row: the last page of a long log costs no more than the first.
    Raises search.InvalidPattern, SearchTooSlow.
    """
    within = Range(after_seq + 1, run.log_count)
    first = (page - 1) * page_size
    if log_filter:
        total, items = _filtered(
            run, within, log_filter, first, page_size, newest_first=newest_first
        )
    else:
        total = max(0, run.log_count - after_seq)
        items = _unfiltered(run, within, first, page_size, newest_first=newest_first)
    has_more = first + len(items) < total
    cursor = items[-1].seq if items and has_more else max(after_seq, run.log_count)
    return LogPage(total, items, None if newest_first else cursor)


def _unfiltered(
    run: Run, within: Range, first: int, count: int, *, newest_first: bool
) -> list[Line]:
    if newest_first:
        last = within.last - first
        page_range = Range(max(within.first, last - count + 1), last)
    else:
        start = within.first + first
        page_range = Range(start, min(within.last, start + count - 1))
    lines = _lines(run, page_range)
    return lines[::-1] if newest_first else lines


LINES = "SELECT {} FROM logs_logline WHERE run_id = %s AND seq BETWEEN %s AND %s ORDER BY seq"


def _lines(run: Run, within: Range) -> list[Line]:
    """One statement and no model instances: log pages are requested all the time."""
    if not within:
        return []
    with connection.cursor() as cursor:
        cursor.execute(LINES.format(COLUMNS.as_string()), [run.pk, within.first, within.last])
        return [Line.read(row) for row in cursor.fetchall()]


def _filtered(
    run: Run, within: Range, log_filter: LogFilter, first: int, count: int, *, newest_first: bool
) -> tuple[int, list[Line]]:
    """(number of matching lines, ``count`` of them after the first ``first``)."""
    search.check(log_filter)
    if log_filter.matches_nothing or not within:
        return 0, []
    with search.searching(log_filter):
        blocks = search.candidate_blocks(run.pk, within, log_filter)
        blocks = search.count_matches(run.pk, blocks, within, log_filter)
        total = sum(block.matching or 0 for block in blocks)
        if newest_first:
            blocks.reverse()
        page_blocks, offset = _blocks_of_page(blocks, first, count)
        lines = search.matching_lines(
            run.pk,
            page_blocks,
            within,
            log_filter,
            limit=count,
            offset=offset,
            newest_first=newest_first,
        )
    return total, lines


def _blocks_of_page(blocks: Sequence[Block], first: int, count: int) -> tuple[list[Block], int]:
    """(blocks with the matches ``first`` to ``first + count``, offset of ``first`` in them)."""
    page_blocks: list[Block] = []
    before = offset = 0
    for block in blocks:
        matching = block.matching or 0
        if before + matching > first:
            if not page_blocks:
                offset = first - before
            page_blocks.append(block)
        before += matching
        if before >= first + count:
            break
    return page_blocks, offset


def after(run: Run, seq: int, limit: int, log_filter: LogFilter = EVERYTHING) -> list[Line]:
    """At most ``limit`` lines after number ``seq``, oldest first.

    Raises search.InvalidPattern, SearchTooSlow.
    """
    return _first_lines(run, Range(seq + 1, run.log_count), limit, log_filter, newest_first=False)


def tail(run: Run, limit: int, log_filter: LogFilter = EVERYTHING) -> list[Line]:
    """At most ``limit`` newest lines, oldest first.

    Raises search.InvalidPattern, SearchTooSlow.
    """
    return _first_lines(run, Range(1, run.log_count), limit, log_filter, newest_first=True)[::-1]


def _first_lines(
    run: Run, within: Range, limit: int, log_filter: LogFilter, *, newest_first: bool
) -> list[Line]:
    if not log_filter:
        return _unfiltered(run, within, 0, limit, newest_first=newest_first)
    search.check(log_filter)
    if log_filter.matches_nothing or not within:
        return []
    lines: list[Line] = []
    with search.searching(log_filter):
        blocks = search.candidate_blocks(run.pk, within, log_filter)
        if newest_first:
            blocks.reverse()
        batch_size = 1
        while blocks and len(lines) < limit:
            # Matches may be rare: read ever more blocks at a time.
            batch, blocks = blocks[:batch_size], blocks[batch_size:]
            batch_size *= 4
            lines += search.matching_lines(
                run.pk,
                batch,
                within,
                log_filter,
                limit=limit - len(lines),
                newest_first=newest_first,
            )
    return lines


def download(run: Run, log_filter: LogFilter = EVERYTHING) -> Iterator[list[Line]]:
    """Every matching line, in batches, so that a log of any length fits in memory.

    Raises search.InvalidPattern immediately, SearchTooSlow while iterating.
    """
    search.check(log_filter)
    within = Range(1, run.log_count)
    if log_filter.matches_nothing or not within:
        return iter(())
    if not log_filter:
        return (
            _lines(run, Range(first, min(first + BLOCK_LINES - 1, run.log_count)))
            for first in range(1, run.log_count + 1, BLOCK_LINES)
        )
    return _matches_by_block(run, within, log_filter)


def _matches_by_block(run: Run, within: Range, log_filter: LogFilter) -> Iterator[list[Line]]:
    with search.searching(log_filter):
        blocks = search.candidate_blocks(run.pk, within, log_filter)
    for block in blocks:
        with search.searching(log_filter):
            lines = search.matching_lines(run.pk, [block], within, log_filter, limit=BLOCK_LINES)
        yield lines
