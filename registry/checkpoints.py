"""What a list of checkpoints tells of each: metrics, evaluations, registered versions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from artifacts.checkpoint_sizes import sizes_of
from artifacts.models import Artifact, ArtifactQuerySet, ArtifactTag
from metrics.goals import important_metrics
from projects.models import Project
from registry import checkpoint_queries
from registry.models import ModelVersion
from runs.models import Run

RUNS_LOOKED_AT: Final = 50


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """``metrics``: the asked ones, in that order, None where there is none; ``results``: all of its
    evaluations; ``size_bytes``: of all its files."""

    checkpoint: Artifact
    metrics: list[float | None]
    results: dict[str, float]
    versions: list[ModelVersion]
    size_bytes: int

    @property
    def run(self) -> Run:
        return self.checkpoint.run

    @property
    def tags(self) -> list[ArtifactTag]:
        return list(self.checkpoint.tags.all())


def checkpoints_of(project: Project) -> ArtifactQuerySet:
    """Of the project's listed runs. Those in the trash have none."""
    return Artifact.objects.checkpoints().filter(
        run__project=project, run__is_hidden=False, run__deleted_at=None
    )


def main_metrics(project: Project) -> list[str]:
    """The project's key metrics; without any, the important ones of its newest runs."""
    if project.key_metrics:
        return list(project.key_metrics)
    newest = project.runs.kept().order_by("-created_at", "id").values_list("metrics", flat=True)
    counts = Counter(key for metrics in newest[:RUNS_LOOKED_AT] for key in metrics)
    return important_metrics(counts)


def rows_of(checkpoints: Sequence[Artifact], keys: Sequence[str]) -> list[CheckpointRow]:
    """Four queries, whatever the number of ``checkpoints``, which have their runs."""
    places = [(checkpoint.run_id, checkpoint.step or 0) for checkpoint in checkpoints]
    metrics = checkpoint_queries.metrics_at(places, keys)
    results = checkpoint_queries.results_of(
        [(checkpoint.run_id, checkpoint.step or 0, checkpoint.pk) for checkpoint in checkpoints]
    )
    versions = _versions(checkpoints)
    sizes = sizes_of(checkpoints)
    return [
        CheckpointRow(
            checkpoint,
            [metrics[position].get(key) for key in keys],
            results[position],
            versions.get(checkpoint.pk, []),
            sizes[checkpoint.pk],
        )
        for position, checkpoint in enumerate(checkpoints)
    ]


def _versions(checkpoints: Iterable[Artifact]) -> dict[str, list[ModelVersion]]:
    versions = ModelVersion.objects.filter(checkpoint__in=list(checkpoints))
    found: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    for version in versions.select_related("model").order_by("model__name", "-number"):
        assert version.checkpoint_id is not None
        found[version.checkpoint_id].append(version)
    return found
