"""SQL that sums up the events of a run to the time that workers have held it."""

from __future__ import annotations

from typing import Final

from core.database import Statement
from runs.models.event import ARRIVALS, LEAVINGS
from runs.status import TERMINAL

_MARKS: Final = ", ".join(f"'{kind.value}'" for kind in (*ARRIVALS, *LEAVINGS))
_BEGINS: Final = ", ".join(f"'{kind.value}'" for kind in ARRIVALS)
_ENDS: Final = ", ".join(f"'{status.value}'" for status in sorted(TERMINAL))

# The same as runs.held_time.held_time, which tells it for any time in the past.
COUNT_HELD_TIME: Final = Statement(
    f"""
WITH mark AS (
    SELECT
        kind IN ({_BEGINS}) AS begins,
        created_at AS began,
        lead(created_at) OVER (ORDER BY id) AS ended
    FROM runs_runevent
    WHERE run_id = %(run_id)s::text AND (kind IN ({_MARKS}) OR to_status IN ({_ENDS}))
), held AS (
    SELECT
        coalesce(sum(greatest(extract(epoch FROM ended - began), 0)), 0)::float8 AS seconds,
        max(began) FILTER (WHERE ended IS NULL) AS since
    FROM mark
    WHERE begins
    HAVING count(*) > 0
)
UPDATE runs_run
SET held_seconds = held.seconds, held_since = held.since
FROM held
WHERE id = %(run_id)s::text
"""  # noqa: S608  composed of constants
)


def count_held_time(run_id: str) -> None:
    """Set ``held_seconds`` and ``held_since`` of the run by its events. The ORM updates from no
    aggregate. Call with the row locked."""
    COUNT_HELD_TIME.run(run_id=run_id)
