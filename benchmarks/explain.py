"""What PostgreSQL does for the statements that run most often: EXPLAIN (ANALYZE, BUFFERS).

python -m benchmarks.explain PROJECT_ID RUN_ID, with DATABASE_URL set; see benchmarks/profile.py.
Nothing that it writes stays.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import django
from django.db import transaction

REPETITIONS = 10  # after so many a connection has settled on a plan, and caches are filled


def plans(project_id: str, run_id: str) -> Iterator[str]:
    from runs.detail import run_detail
    from runs.ingestion import record_points
    from runs.points import Points

    def record(keys: int, steps: int) -> None:
        first = 2**40  # where there is no point yet
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

    yield from explained("run detail", lambda: run_detail(project_id, run_id))
    yield from explained("a point", lambda: record(1, 1))
    yield from explained("a batch of 20 × 50 points", lambda: record(20, 50))


def explained(title: str, work: Callable[[], object]) -> Iterator[str]:
    """The plans of the statements that ``work`` runs; of their times, the last of several."""
    from trainhub.database import Statement

    run, asked = Statement.run, []

    def remember(statement: Statement, **parameters: Any) -> Any:
        asked.append((statement, parameters))
        return run(statement, **parameters)

    with transaction.atomic():
        with patch.object(Statement, "run", remember):
            work()
        transaction.set_rollback(True)
    for statement, parameters in asked:
        explain = copy.copy(statement)
        explain._sql = b"EXPLAIN (ANALYZE, BUFFERS) " + statement._sql
        for _repetition in range(REPETITIONS):
            with transaction.atomic():
                rows = explain.rows(**parameters)
                transaction.set_rollback(True)
        yield "\n".join([f"--- {title}", *(row[0] for row in rows), ""])


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    django.setup()
    sys.stdout.write("\n".join(plans(*sys.argv[1:])))
