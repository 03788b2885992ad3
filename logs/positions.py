"""Where in a log a time is: a search by halves over line numbers, in one statement.

Lines are numbered as they arrive, so their times rise but for the little by which the processes of
a training are apart: what is found is at most that far from the time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from core.database import Statement
from logs.models import LogLevel
from logs.reading import tail
from logs.search import LogFilter
from runs.models import Run

# Each round looks up one line by its primary key: 24 of 10 million.
FIRST_LINE_FROM: Final = Statement("""
WITH RECURSIVE halving (low, high) AS (
    SELECT 1::bigint, %(lines)s::bigint
    UNION ALL
    SELECT
        CASE WHEN line.timestamp < %(time)s::timestamptz THEN middle.seq + 1 ELSE low END,
        CASE WHEN line.timestamp < %(time)s::timestamptz THEN high ELSE middle.seq END
    FROM halving
        CROSS JOIN LATERAL (SELECT low + (high - low) / 2 AS seq) AS middle
        JOIN logs_logline AS line ON line.run_id = %(run_id)s::text AND line.seq = middle.seq
    WHERE low < high
)
SELECT low FROM halving WHERE low >= high
""")


def line_at(run: Run, time: datetime) -> int:
    """The number of the first line from ``time`` on; of the last line if all are before it; 0 if
    the log is empty."""
    if run.log_count == 0:
        return 0
    row = FIRST_LINE_FROM.row(run_id=run.pk, lines=run.log_count, time=time)
    return run.log_count if row is None else int(row[0])


def last_error(run: Run) -> int | None:
    """The number of the last line that is an error; None if there is none. Raises
    logs.search.SearchTooSlow."""
    found = [
        lines[-1].seq
        for level in (LogLevel.ERROR, LogLevel.CRITICAL)
        if (lines := tail(run, 1, LogFilter(level=level)))
    ]
    return max(found, default=None)
