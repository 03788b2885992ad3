"""What PostgreSQL does for the statements that run most often: EXPLAIN (ANALYZE, BUFFERS).

python -m benchmarks.explain PROJECT_ID RUN_ID, with DATABASE_URL set; see benchmarks/profile.py.
It writes to that run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import patch

import django
import psycopg
from django.db import transaction
from psycopg import sql

from trainhub.database import Statement

REPETITIONS = 10  # after so many a connection has settled on a plan, and caches are filled


def plans(project_id: str, run_id: str) -> Iterator[str]:
    from runs.ingestion import record_points
    from runs.points import Points
    from runs.run_json import run_detail

    def record(keys: int, steps: int, first: int = 2**40) -> None:
        """By default where there is no point yet."""
        count = keys * steps
        record_points(
            run_id,
            Points.in_columns(
                [f"train/metric_{number % keys}" for number in range(count)],
                [first + number // keys for number in range(count)],
                [0] * count,
                [0.5] * count,
            ),
        )

    record(1000, 1, first=0)  # there are its series now
    yield from explained("run detail", lambda: run_detail(project_id, run_id))
    yield from explained("a point", lambda: record(1, 1))
    yield from explained("a batch of 20 × 50 points", lambda: record(20, 50))
    yield from explained("a batch of 1,000 × 1 points", lambda: record(1000, 1))


def explained(title: str, work: Callable[[], object]) -> Iterator[str]:
    """The plans of the statements that ``work`` runs; of their times, the last of several."""
    run, asked = Statement._run, []

    def remember(statement: Statement, parameters: dict[str, Any]) -> Any:
        asked.append((statement, parameters))
        return run(statement, parameters)

    with transaction.atomic():
        with patch.object(Statement, "_run", remember):
            work()
        transaction.set_rollback(True)
    for statement, parameters in asked:
        plan = "\n".join(_plan(statement, parameters))
        yield f"--- {title}\n{plan}\n"


def _plan(statement: Statement, parameters: Mapping[str, Any]) -> list[str]:
    """Of a prepared statement, as a connection comes to it: for these parameters in particular at
    first, and later, if PostgreSQL thinks that as good, for any."""
    values = [parameters[name] for name in statement._parameters]
    literals = [sql.Literal(list(one) if isinstance(one, list) else one) for one in values]
    execute = sql.SQL("EXPLAIN (ANALYZE, BUFFERS) EXECUTE explained ({})")
    # A connection of its own: nothing else is prepared there.
    with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as own:
        cursor = psycopg.RawCursor(own)
        cursor.execute(b"PREPARE explained AS " + statement._sql)
        own.commit()
        for _repetition in range(REPETITIONS):
            cursor.execute(execute.format(sql.SQL(", ").join(literals)))
            rows = cursor.fetchall()
            own.rollback()
    return [row[0] for row in rows]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    django.setup()
    sys.stdout.write("\n".join(plans(*sys.argv[1:])))
