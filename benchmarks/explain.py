"""Query plans of the most frequent statements: EXPLAIN (ANALYZE, BUFFERS).

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

from core.database import Statement

REPETITIONS = 10  # until the connection has settled on a plan and caches are warm


def plans(project_id: str, run_id: str) -> Iterator[str]:
    from metrics.points import Points
    from metrics.recording import record_points
    from runs.run_json import run_detail

    def record(keys: int, steps: int, first: int = 2**40) -> None:
        """By default at steps that have no points yet."""
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

    record(1000, 1, first=0)  # creates the series
    yield from explained("run detail", lambda: run_detail(project_id, run_id))
    yield from explained("a point", lambda: record(1, 1))
    yield from explained("a batch of 20 × 50 points", lambda: record(20, 50))
    yield from explained("a batch of 1,000 × 1 points", lambda: record(1000, 1))


def explained(title: str, work: Callable[[], object]) -> Iterator[str]:
    """Yield the plans of the statements that ``work`` executes, each from its last repetition."""
    run, executed = Statement._run, []

    def remember(statement: Statement, parameters: dict[str, Any]) -> Any:
        executed.append((statement, parameters))
        return run(statement, parameters)

    with transaction.atomic():
        with patch.object(Statement, "_run", remember):
            work()
        transaction.set_rollback(True)
    for statement, parameters in executed:
        plan = "\n".join(_plan(statement, parameters))
        yield f"--- {title}\n{plan}\n"


def _plan(statement: Statement, parameters: Mapping[str, Any]) -> list[str]:
    """Return the plan of a prepared statement: PostgreSQL first plans for the actual parameters and
    may later switch to a generic plan."""
    values = [parameters[name] for name in statement._parameters]
    literals = [sql.Literal(list(value) if isinstance(value, list) else value) for value in values]
    execute = sql.SQL("EXPLAIN (ANALYZE, BUFFERS) EXECUTE explained ({})")
    # A separate connection, on which nothing else is prepared.
    with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as connection:
        cursor = psycopg.RawCursor(connection)
        cursor.execute(b"PREPARE explained AS " + statement.sql)
        connection.commit()
        for _repetition in range(REPETITIONS):
            cursor.execute(execute.format(sql.SQL(", ").join(literals)))
            rows = cursor.fetchall()
            connection.rollback()
    return [row[0] for row in rows]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    django.setup()
    sys.stdout.write("\n".join(plans(*sys.argv[1:])))
