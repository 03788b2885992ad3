"""Precomputed summaries of blocks of log lines, so that a search can skip most blocks.

A summary can only rule its block out: the other blocks are read. It is written when the block's
last line is appended, in the same transaction, and holds line counts by level, source and rank, the
time span, and a Bloom filter of the trigrams of the messages. PostgreSQL's own trigram index
(pg_trgm) is not available on every server and would cost more per line.

Text is compared as UTF-8 bytes with A-Z folded to a-z, whatever the server's locale: that is what
``lower(… COLLATE "C")`` and ``bytes.lower`` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from logs.lines import Line
from logs.models import LogBlock, LogLine
from runs.models import Run

BLOCK_LINES: Final = 1024
# Two summaries fit in one database page (8 kB).
FILTER_BITS: Final = 30_000
# More bits of a long text would rule out hardly any more blocks.
MAX_QUERY_BITS: Final = 24
# Bounds the memory for a block of very long lines: hashing takes twelve bytes per byte of text.
CHUNK_BYTES: Final = 256 * 1024


def block_of(seq: int) -> int:
    return (seq - 1) // BLOCK_LINES


def summarize(run: Run, lines: Sequence[Line]) -> None:
    """Summarize the blocks that ``lines``, the next lines of the run's log, complete.

    Call with the run locked, before its ``log_count`` is updated.
    """
    open_block = run.log_count // BLOCK_LINES
    complete = (run.log_count + len(lines)) // BLOCK_LINES
    if complete == open_block:
        return
    is_partly_filled = run.log_count % BLOCK_LINES > 0
    pending = [*_stored_lines(run, open_block), *lines] if is_partly_filled else lines
    LogBlock.objects.bulk_create(
        _summary(run, number, pending[start : start + BLOCK_LINES])
        for start, number in zip(
            range(0, len(pending), BLOCK_LINES), range(open_block, complete), strict=False
        )
    )


def _stored_lines(run: Run, number: int) -> Iterable[Line]:
    first = number * BLOCK_LINES
    lines = LogLine.objects.filter(run=run, seq__gt=first, seq__lte=run.log_count).order_by("seq")
    return (Line._make(row) for row in lines.values_list(*Line._fields))


def _summary(run: Run, number: int, lines: Sequence[Line]) -> LogBlock:
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
        trigrams=_bloom_filter("\n".join(line.message for line in lines)),
    )


def _bloom_filter(text: str) -> bytes:
    present = np.zeros(FILTER_BITS, dtype=np.bool_)
    content = text.encode().lower()
    for start in range(0, len(content), CHUNK_BYTES):
        # Chunks overlap by two bytes, so that no trigram is lost between them.
        present[_bits(content[start : start + CHUNK_BYTES + 2])] = True
    return np.packbits(present, bitorder="little").tobytes()  # the bit order of get_bit()


def bits_of(text: str) -> list[int]:
    """Bits that are set in the filter of every block with ``text`` in a message; empty if ``text``
    has fewer than three bytes."""
    return [int(bit) for bit in np.unique(_bits(text.encode().lower()))[:MAX_QUERY_BITS]]


def _bits(content: bytes) -> NDArray[np.uint32]:
    """The filter bit of each trigram of ``content``."""
    folded = np.frombuffer(content, dtype=np.uint8).astype(np.uint32)
    trigrams = folded[:-2] << 16 | folded[1:-1] << 8 | folded[2:]
    scattered = trigrams * np.uint32(2_654_435_761)  # Knuth's multiplicative hash, modulo 2 ** 32
    return ((scattered >> 8) % np.uint32(FILTER_BITS)).astype(np.uint32, copy=False)
