"""Indexes runs whatever their state, as workers do with those that have ended."""

from collections.abc import Iterable

from metrics import run_index_queries as queries
from runs.models import Run


def index(runs: Iterable[Run]) -> None:
    ids = [run.pk for run in runs]
    queries.delete_values(ids)
    queries.create_columns(ids)
    queries.insert_values(ids)
    queries.mark_indexed(ids)
