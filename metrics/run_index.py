"""Indexing: the hyperparameters and metrics of runs that have ended become rows by value, by which
lists of a project's runs filter, sort and group them (ParamValue, MetricValue).

Why not of all runs: every point of a run changes its values, and with them each index that they
are in. So a worker copies them once the run has ended, and ``Run.is_indexed`` tells that the rows
are those of its hyperparameters and series. Whoever changes these, which a run may see after its
end too, sets it to False in the same update, with the run's row locked. Readers take indexed runs
by these rows, and all others by their own rows and series: see docs/adr/0024.
"""

from __future__ import annotations

import time
from typing import Final

from django.db import transaction

from metrics import run_index_queries as queries

RUNS_PER_BATCH: Final = 200


def index_runs(*, seconds: float = 1.0) -> int:
    """Index runs that have ended, for about ``seconds`` if there are that many; return how many.

    Several workers may do so at once: each takes runs that no other has locked.
    """
    deadline = time.monotonic() + seconds
    total = count = _index_batch()
    while count == RUNS_PER_BATCH and time.monotonic() < deadline:
        count = _index_batch()
        total += count
    return total


@transaction.atomic
def _index_batch() -> int:
    locked = queries.lock_runs(RUNS_PER_BATCH)
    if not locked:
        return 0
    run_ids = [run_id for run_id, _is_listed in locked]
    listed = [run_id for run_id, is_listed in locked if is_listed]
    queries.delete_values(run_ids)
    if listed:
        queries.create_columns(listed)
        queries.insert_values(listed)
    queries.mark_indexed(run_ids)
    return len(locked)
