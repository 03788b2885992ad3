"""What users and workers would have written, until somebody reads the tables."""

from __future__ import annotations

from typing import Any

from core.database import Doubles, Statement
from core.pipeline import Query, together
from execution.cluster_simulation import writing
from execution.cluster_simulation.sandbox import Clock


class Pending:
    """Collects what happens at several times, and writes it in one round trip: one statement of a
    kind, each run with its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order in which they may follow each other for one run, between two writes.
        self._columns: dict[Statement, dict[str, Any]] = {
            statement: {}
            for statement in (
                writing.BEGIN,
                writing.END,
                writing.YIELD,
                writing.LOSE,
                writing.SUBMIT,
            )
        }

    def begin(self, **columns: Any) -> None:
        self._add(writing.BEGIN, columns)

    def end(self, **columns: Any) -> None:
        self._add(writing.END, columns)

    def give_way(self, **columns: Any) -> None:
        self._add(writing.YIELD, columns)

    def lose(self, **columns: Any) -> None:
        self._add(writing.LOSE, columns)

    def submit(self, **columns: Any) -> None:
        self._add(writing.SUBMIT, columns)

    def write(self) -> None:
        """Now, and let the database know the time."""
        queries = [
            Query(statement, columns) for statement, columns in self._columns.items() if columns
        ]
        together(*queries, self._clock.query())
        self._columns = {statement: {} for statement in self._columns}

    def _add(self, statement: Statement, columns: dict[str, Any]) -> None:
        """``columns``: a list of each, or a value that is the same for all."""
        columns["times"] = Doubles([self._clock.unix] * len(columns["ids"]))
        added = self._columns[statement]
        for name, values in columns.items():
            if isinstance(added.get(name), list):
                added[name].extend(values)
            else:
                added[name] = values
