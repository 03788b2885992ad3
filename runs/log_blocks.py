"""Blocks of log lines summed up ahead of their readers, so that a search need not read them all.

A summary only ever says "nothing here": a block that it does not rule out is read. It is made when
the block's last line is written, in the same transaction, and holds the lines by level, source and
rank, the span of their times, and a Bloom filter of the trigrams of their messages. PostgreSQL's
own trigram index (pg_trgm) is not among what every server has, and would cost each line more.

Text is compared as UTF-8 bytes with A-Z taken for a-z, on every server alike: that is what
``lower(… COLLATE "C")`` and ``bytes.lower`` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runs.models import LogBlock, LogLine, Run

BLOCK_LINES: Final = 1024
# Two blocks with their filters fit on a page of the database (8 kB).
FILTER_BITS: Final = 30_000
# More bits of a long text would rule out hardly any other block.
BITS_ASKED: Final = 24
# A block of endless lines is looked at in pieces: each byte takes twelve on the way.
PIECE_BYTES: Final = 256 * 1024


class Stored(NamedTuple):
    """A line as the database has it."""

    timestamp: datetime
    level: str
    source: str
    rank: int | None
    message: str


def block_of(seq: int) -> int:
    return (seq - 1) // BLOCK_LINES


def summarize(run: Run, lines: Sequence[Stored]) -> None:
    """Sum up the blocks that ``lines``, the next of the run's log, complete.

    Called with the run locked, before its ``log_count`` moves on.
    """
    open_block = run.log_count // BLOCK_LINES
    complete = (run.log_count + len(lines)) // BLOCK_LINES
    if complete == open_block:
        return
    before = run.log_count % BLOCK_LINES
    waiting = [*_lines_of(run, open_block), *lines] if before else lines
    LogBlock.objects.bulk_create(
        _summary(run, number, waiting[start : start + BLOCK_LINES])
        for start, number in zip(
            range(0, len(waiting), BLOCK_LINES), range(open_block, complete), strict=False
        )
    )


def _lines_of(run: Run, number: int) -> Iterable[Stored]:
    first = number * BLOCK_LINES
    lines = LogLine.objects.filter(run=run, seq__gt=first, seq__lte=run.log_count).order_by("seq")
    return (Stored._make(row) for row in lines.values_list(*Stored._fields))


def _summary(run: Run, number: int, lines: Sequence[Stored]) -> LogBlock:
    return LogBlock(
        run=run,
        number=number,
        first_time=min(line.timestamp for line in lines),
        last_time=max(line.timestamp for line in lines),
        tallies={
            "level": Counter(line.level for line in lines),
            "source": Counter(line.source for line in lines),
            "rank": Counter(str(line.rank) for line in lines if line.rank is not None),
        },
        trigrams=_filter("\n".join(line.message for line in lines)),
    )


def _filter(text: str) -> bytes:
    present = np.zeros(FILTER_BITS, dtype=np.bool_)
    content = text.encode().lower()
    for start in range(0, len(content), PIECE_BYTES):
        # Two bytes on, so that no trigram falls between two pieces.
        present[_bits(content[start : start + PIECE_BYTES + 2])] = True
    return np.packbits(present, bitorder="little").tobytes()  # as get_bit() counts them


def bits_of(text: str) -> list[int]:
    """Bits that are set in the filter of every block with ``text`` in a message; none for less
    than three bytes."""
    return [int(bit) for bit in np.unique(_bits(text.encode().lower()))[:BITS_ASKED]]


def _bits(content: bytes) -> NDArray[np.uint32]:
    """The filter's bit of each trigram of ``content``."""
    folded = np.frombuffer(content, dtype=np.uint8).astype(np.uint32)
    trigrams = folded[:-2] << 16 | folded[1:-1] << 8 | folded[2:]
    scattered = trigrams * np.uint32(2_654_435_761)  # Knuth's multiplicative hash, modulo 2 ** 32
    return ((scattered >> 8) % np.uint32(FILTER_BITS)).astype(np.uint32, copy=False)
