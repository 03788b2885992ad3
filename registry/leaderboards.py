"""Checkpoints of a project ranked by a result of its evaluations, or a metric at their steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from artifacts.models import Artifact
from metrics.goals import Direction, direction_of, is_evaluation
from projects.models import Project
from registry import checkpoint_queries
from registry.checkpoint_queries import Rank
from runs.models import Run

PLACES: Final = 500
MAX_KEYS: Final = 2000
RUNS_LOOKED_AT: Final = 100  # the newest, for the metrics that a project has
RUNS_PER_QUERY: Final = 50  # the first; each further one reads twice as many, up to the limit
MAX_RUNS_PER_QUERY: Final = 5000
FIRST_BOUNDS: Final = 2000
MAX_DIFFERENCES: Final = 8  # columns


@dataclass(frozen=True, slots=True)
class Measure:
    """What checkpoints are ranked by. ``is_metric``: of a curve, at the checkpoint's step;
    otherwise, of evaluations."""

    key: str
    is_metric: bool = False

    @property
    def name(self) -> str:
        """In the address of a leaderboard."""
        return f"metric:{self.key}" if self.is_metric else self.key

    @property
    def lowest_first(self) -> bool:
        """Whether less is better, by its name; if that says nothing, the greatest is first."""
        direction = direction_of(self.key, of_evaluation=not self.is_metric)
        return direction is Direction.LOWER


@dataclass(frozen=True, slots=True)
class Place:
    """``values``: of the hyperparameters that differ, in the board's order; None where the run has
    none."""

    number: int
    rank: Rank
    checkpoint: Artifact
    values: Sequence[Any]

    @property
    def run(self) -> Run:
        return self.checkpoint.run


def measures(project: Project) -> list[Measure]:
    """What the project's checkpoints can be ranked by: results of evaluations first, then metrics
    measured in evaluations, then the others."""
    results = checkpoint_queries.result_keys(project.pk, limit=MAX_KEYS)
    newest = project.runs.kept().order_by("-created_at", "id").values_list("metrics", flat=True)
    keys = sorted({key for metrics in newest[:RUNS_LOOKED_AT] for key in metrics})
    by_kind = sorted(keys, key=lambda key: not is_evaluation(key))
    found = [Measure(key) for key in results]
    found += [Measure(key, is_metric=True) for key in by_kind if not key.startswith("system/")]
    return found[:MAX_KEYS]


def measure_named(name: str) -> Measure:
    """The measure with that ``Measure.name``; it need not exist."""
    if name.startswith("metric:"):
        return Measure(name.removeprefix("metric:"), is_metric=True)
    return Measure(name)


def ranking(project: Project, measure: Measure, *, lowest_first: bool) -> list[Rank]:
    """The best PLACES checkpoints, the best first; of equals, in no order."""
    if "\x00" in measure.key:  # PostgreSQL rejects NUL in text
        return []
    if not measure.is_metric:
        return checkpoint_queries.ranked_results(
            project.pk, measure.key, lowest_first=lowest_first, limit=PLACES
        )
    return _ranked_by_metric(project.pk, measure.key, lowest_first=lowest_first)


def _ranked_by_metric(project_id: str, key: str, *, lowest_first: bool) -> list[Rank]:
    """Looks only at runs whose best value could still be among the best of the checkpoints."""
    sign = 1 if lowest_first else -1
    found: list[Rank] = []
    for runs in _batches(_bounds(project_id, key, lowest_first=lowest_first)):
        _run_id, bound = runs[0]
        if len(found) == PLACES and sign * found[-1].value <= sign * bound:
            break
        run_ids = [run_id for run_id, _value in runs]
        found += checkpoint_queries.checkpoint_values(
            run_ids, key, lowest_first=lowest_first, limit=PLACES
        )
        found = sorted(found, key=lambda rank: sign * rank.value)[:PLACES]
    return found


def _bounds(project_id: str, key: str, *, lowest_first: bool) -> Iterator[tuple[str, float]]:
    """The best value that each run of the project with checkpoints has ever had, the best run
    first: of all of them only if it comes to that."""
    best = checkpoint_queries.best_values(
        project_id, key, lowest_first=lowest_first, limit=FIRST_BOUNDS
    )
    yield from best
    if len(best) == FIRST_BOUNDS:
        known = {run_id for run_id, _value in best}
        every = checkpoint_queries.best_values(project_id, key, lowest_first=lowest_first)
        yield from (bound for bound in every if bound[0] not in known)


def _batches(bounds: Iterator[tuple[str, float]]) -> Iterator[list[tuple[str, float]]]:
    size = RUNS_PER_QUERY
    while batch := list(islice(bounds, size)):
        yield batch
        size = min(2 * size, MAX_RUNS_PER_QUERY)


def places(ranks: Sequence[Rank], *, first: int = 1) -> tuple[list[str], list[Place]]:
    """(the hyperparameters that differ between these checkpoints' runs, the checkpoints)."""
    checkpoints = (
        Artifact.objects.select_related("run")
        .prefetch_related("tags")
        .in_bulk([rank.checkpoint_id for rank in ranks])
    )
    known = [rank for rank in ranks if rank.checkpoint_id in checkpoints]  # one may be deleted
    runs = {checkpoint.run_id: checkpoint.run for checkpoint in checkpoints.values()}
    names = differing([run.hyperparameters for run in runs.values()])[:MAX_DIFFERENCES]
    return names, [
        Place(
            number,
            rank,
            checkpoints[rank.checkpoint_id],
            [checkpoints[rank.checkpoint_id].run.hyperparameters.get(name) for name in names],
        )
        for number, rank in enumerate(known, start=first)
    ]


def differing(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all ``configurations``, in alphabetical order."""
    names = sorted({name for configuration in configurations for name in configuration})
    return [
        name
        for name in names
        if any(
            configuration.get(name) != configurations[0].get(name)
            for configuration in configurations
        )
    ]
