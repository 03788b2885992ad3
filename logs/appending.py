"""The only write path for log lines.

Call with the run's row locked (``Run.objects.lock`` or ``lock_held_by``), in the transaction that
also records how far the caller has read.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models.functions import Now

from core.sessions import limited_copy
from core.text import storable
from logs import blocks
from logs.cutting import cut
from logs.lines import Line
from runs.models import Run

MAX_MESSAGE_LENGTH = 32_000  # characters of one log line


def append_log(run: Run, lines: Sequence[Line], *, is_report: bool = True) -> None:
    """Append ``lines`` with the run's next numbers; ``is_report``: they come from the training."""
    if not lines:
        return
    first = run.log_count + 1
    stored = [_stored(line, seq) for seq, line in enumerate(lines, first)]
    with (
        connection.cursor() as cursor,
        limited_copy(cursor),
        cursor.copy(
            "COPY logs_logline (seq, timestamp, level, source, rank, message, run_id) FROM STDIN"
        ) as copy,
    ):
        for line in stored:
            copy.write_row((*line, run.pk))
    blocks.summarize(run, stored)
    reported_at = {"reported_at": Now()} if is_report else {}
    run.change(log_count=run.log_count + len(lines), **reported_at)


def _stored(line: Line, seq: int) -> Line:
    _seq, timestamp, level, source, rank, message = line
    return Line(seq, timestamp, level, storable(source), rank, _kept(message))


def _kept(message: str) -> str:
    """``message``, cut with a mark if it is too long, as it can be stored."""
    return storable(cut(message, MAX_MESSAGE_LENGTH))
