"""The table of a project's checkpoints: its columns, and the rows of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from metrics.goals import Direction, direction_of
from registry.checkpoints import CheckpointRow, rows_of

RESULT_COLUMNS: Final = 4
MAX_IGNORED: Final = 20


@dataclass(frozen=True, slots=True)
class TableRow:
    """A checkpoint with its numbers in the order of the table's columns. ``other_results``: those
    without a column, by key."""

    checkpoint: Artifact
    metrics: list[float | None]
    results: list[float | None]
    other_results: dict[str, float]
    row: CheckpointRow


@dataclass(frozen=True, slots=True)
class CheckpointTable:
    """``results``: the keys that most rows have; ``has_other_results``: a row has more than these;
    ``ignored``: the evaluations of these runs whose numbers are left out."""

    metrics: list[str]
    results: list[str]
    rows: list[TableRow]
    ignored: list[Artifact]

    @property
    def has_other_results(self) -> bool:
        return any(row.other_results for row in self.rows)


def checkpoint_table(checkpoints: Sequence[Artifact], metrics: Sequence[str]) -> CheckpointTable:
    """``checkpoints`` have their runs and tags."""
    rows = rows_of(checkpoints, metrics)
    counts = Counter(key for row in rows for key in row.results)
    common = sorted(counts, key=lambda key: (-counts[key], key))[:RESULT_COLUMNS]
    results = sorted(common)
    return CheckpointTable(
        metrics=list(metrics),
        results=results,
        rows=[_table_row(row, results) for row in rows],
        ignored=_ignored(checkpoints),
    )


def _table_row(row: CheckpointRow, columns: Sequence[str]) -> TableRow:
    return TableRow(
        row.checkpoint,
        row.metrics,
        [row.results.get(key) for key in columns],
        {key: value for key, value in row.results.items() if key not in columns},
        row,
    )


def _ignored(checkpoints: Sequence[Artifact]) -> list[Artifact]:
    runs = {checkpoint.run_id for checkpoint in checkpoints}
    evaluations = Artifact.objects.filter(type=ArtifactType.EVALUATION, run__in=runs)
    damaged = evaluations.filter(metadata__has_key="ignored").select_related("run")
    return list(damaged.order_by("-updated_at", "id")[:MAX_IGNORED])


# --- comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """A number of a checkpoint beside that of another. ``difference``: of the two, None unless both
    are known; ``is_better``: of the first; None if they are equal or not both known, or if nothing
    tells whether less or more is better."""

    key: str
    direction: Direction | None
    value: float | None
    other: float | None

    @property
    def difference(self) -> float | None:
        if self.value is None or self.other is None:
            return None
        return self.value - self.other

    @property
    def is_better(self) -> bool | None:
        if not self.difference or self.direction is None:
            return None
        return (self.difference < 0) == (self.direction is Direction.LOWER)


def compared(
    row: CheckpointRow, other: CheckpointRow | None, keys: Sequence[str]
) -> list[Compared]:
    """All results of either, then the metrics ``keys``, which both rows were made with."""
    results = sorted({*row.results, *(other.results if other else ())})
    found = [
        Compared(
            key,
            direction_of(key, of_evaluation=True),
            row.results.get(key),
            other.results.get(key) if other else None,
        )
        for key in results
    ]
    for position, key in enumerate(keys):
        theirs = other.metrics[position] if other else None
        found.append(Compared(key, direction_of(key), row.metrics[position], theirs))
    return [item for item in found if item.value is not None or item.other is not None]
