"""The table of a project's checkpoints: its columns, and the rows of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from artifacts.kinds import ArtifactType
from artifacts.models import Artifact, EvaluationResult
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


class Evaluator(NamedTuple):
    """An evaluation run."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A number of a checkpoint beside that of another: a result of an evaluation, or a metric of
    the training. ``evaluated_by``: the run that has evaluated the first, if one did.
    ``difference``: of the two, None unless both are known; ``is_better``: of the first; None if
    they are equal or not both known, or if nothing tells whether less or more is better."""

    key: str
    direction: Direction | None
    value: float | None
    other: float | None
    is_result: bool = False
    evaluated_by: Evaluator | None = None

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
    evaluators = _evaluators(row.checkpoint)
    found = [
        Compared(
            key,
            direction_of(key, of_evaluation=True),
            row.results.get(key),
            other.results.get(key) if other else None,
            is_result=True,
            evaluated_by=evaluators.get(key),
        )
        for key in results
    ]
    for position, key in enumerate(keys):
        theirs = other.metrics[position] if other else None
        found.append(Compared(key, direction_of(key), row.metrics[position], theirs))
    return [item for item in found if item.value is not None or item.other is not None]


def _evaluators(checkpoint: Artifact) -> dict[str, Evaluator]:
    """By the key of a result. Of several, the newest, as in registry.checkpoint_queries."""
    results = EvaluationResult.objects.filter(checkpoint=checkpoint, evaluated_by__isnull=False)
    rows = results.order_by("step", "id").values_list(
        "key", "evaluated_by_id", "evaluated_by__name"
    )
    return {key: Evaluator(run_id, name) for key, run_id, name in rows}
