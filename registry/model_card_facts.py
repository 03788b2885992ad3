"""What is known about a checkpoint and the runs that led to it: the content of its model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from artifacts.lineage import ancestors
from artifacts.models import Artifact, ArtifactTag
from projects.models import Project
from registry.checkpoints import main_metrics, rows_of
from registry.models import ModelVersion
from runs.held_time import held_time
from runs.models import DatasetInput, EventKind, Run

PURPOSE_TAG: Final = "mlflow.data.context"  # of a dataset: training, evaluation …


@dataclass(frozen=True, slots=True)
class Change:
    """A hyperparameter that a run has in another value than the run it continues; None: not at
    all."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Segment:
    """What a run has contributed: up to ``checkpoint``, from the step where it began.

    ``held``: see runs.held_time; ``gpu_hours``: None if its GPUs are not known; ``changes``: from
    the run before; ``drift``: what its script has reported to have changed meanwhile, in lines.
    """

    run: Run
    checkpoint: Artifact
    held: timedelta
    gpu_hours: float | None
    changes: list[Change]
    drift: list[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """``segments``: the runs from the first one to that of the checkpoint. ``results`` are of its
    evaluations, ``metrics`` of its curves at its step; ``datasets`` of all runs, those of the
    first run first, ``named_datasets`` as runs have been given them. ``size_bytes``: of all of the
    checkpoint's files."""

    checkpoint: Artifact
    segments: list[Segment]
    results: dict[str, float]
    metrics: dict[str, float]
    datasets: list[DatasetInput]
    named_datasets: list[str]
    tags: list[ArtifactTag]
    versions: list[ModelVersion]
    size_bytes: int

    @property
    def run(self) -> Run:
        return self.checkpoint.run

    @property
    def project(self) -> Project:
        return self.run.project

    @property
    def held(self) -> timedelta:
        return sum((segment.held for segment in self.segments), timedelta())

    @property
    def gpu_hours(self) -> float | None:
        """None unless the GPUs of every run are known."""
        hours = [segment.gpu_hours for segment in self.segments]
        return None if None in hours else sum(filter(None, hours))


def facts_of(checkpoint: Artifact, metric_keys: Sequence[str] | None = None) -> Facts:
    """``metric_keys``: the project's main metrics unless given."""
    run = checkpoint.run
    keys = main_metrics(run.project) if metric_keys is None else metric_keys
    [row] = rows_of([checkpoint], keys)
    chain = [(ancestor.run, ancestor.checkpoint) for ancestor in reversed(ancestors(run))]
    chain.append((run, checkpoint))
    runs = [run for run, _checkpoint in chain]
    inputs = DatasetInput.objects.filter(run__in=runs).order_by("run__created_at", "id")
    seen: dict[tuple[str, str], DatasetInput] = {}
    for dataset in inputs:
        seen.setdefault((dataset.name, dataset.digest), dataset)
    known = {dataset.name for dataset in seen.values()}
    named = dict.fromkeys(run.dataset for run in runs if run.dataset and run.dataset not in known)
    pairs = zip(keys, row.metrics, strict=True)
    return Facts(
        checkpoint=checkpoint,
        segments=_segments(chain),
        results=row.results,
        metrics={key: value for key, value in pairs if value is not None},
        datasets=list(seen.values()),
        named_datasets=list(named),
        tags=list(checkpoint.tags.select_related("applied_by").order_by("applied_at", "id")),
        versions=row.versions,
        size_bytes=row.size_bytes,
    )


def _segments(chain: Sequence[tuple[Run, Artifact]]) -> list[Segment]:
    segments = []
    before: Run | None = None
    for run, checkpoint in chain:
        held = held_time(run, until=checkpoint.created_at)
        drift = run.events.filter(
            kind=EventKind.PARAMS_CHANGED, created_at__lte=checkpoint.created_at
        )
        segments.append(
            Segment(
                run,
                checkpoint,
                held,
                held.total_seconds() / 3600 * run.gpu_count if run.gpu_count else None,
                [] if before is None else _changes(before, run),
                [line for event in drift for line in str(event.reason).splitlines()],
            )
        )
        before = run
    return segments


def _changes(before: Run, after: Run) -> list[Change]:
    old, new = before.configured_hyperparameters, after.configured_hyperparameters
    names = sorted({*old, *new})
    changes = [Change(name, old.get(name), new.get(name)) for name in names]
    found = [change for change in changes if change.before != change.after]
    for name in ("model", "dataset"):
        if getattr(before, name) != getattr(after, name):
            found.append(Change(name, getattr(before, name), getattr(after, name)))
    return found


def began(facts: Facts) -> datetime | None:
    """When the first of the runs started."""
    return facts.segments[0].run.started_at
