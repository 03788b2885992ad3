"""What a policy would remove from a project, and why everything else stays: a dry run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils import timezone

from artifacts import layouts
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.checkpoint_sizes import sizes_of
from artifacts.models import Artifact
from artifacts.protection import protections_of
from core.messages import Message, Text
from projects.models import Project
from registry import checkpoint_queries
from registry.checkpoint_retention import Candidate, Retention, kept_by, newest_of
from registry.checkpoints import checkpoints_of
from runs.models.run_queryset import DOCUMENTS

RUNS_AT_ONCE: Final = 200
# A folder is uploaded file by file, and looks whole before its last one has come.
UPLOADED_WITHIN: Final = timedelta(hours=1)
RUN_DOCUMENTS: Final = [f"run__{name}" for name in sorted(DOCUMENTS)]


@dataclass(frozen=True, slots=True)
class Judged:
    """A checkpoint, and why it stays; ``reasons`` are empty of one that would go. ``value``: of
    the policy's metric."""

    checkpoint: Artifact
    size_bytes: int
    reasons: list[Text]
    value: float | None = None

    @property
    def is_kept(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class Preview:
    """The judged checkpoints by run, the newest run first, and in it the newest checkpoint."""

    removed: list[Judged]
    kept: list[Judged]

    @property
    def removed_bytes(self) -> int:
        return sum(item.size_bytes for item in self.removed)

    @property
    def kept_bytes(self) -> int:
        return sum(item.size_bytes for item in self.kept)


def preview(project: Project, retention: Retention) -> Preview:
    """Of all listed runs of the project. Changes nothing."""
    judged = [item for group in judged_runs(project, retention) for item in group]
    return Preview(
        removed=[item for item in judged if not item.is_kept],
        kept=[item for item in judged if item.is_kept],
    )


def judged_runs(
    project: Project, retention: Retention, *, run_ids: Sequence[str] | None = None
) -> Iterator[list[Judged]]:
    """The checkpoints of so many runs at a time, some statements for each. ``run_ids``: only of
    these runs."""
    if run_ids is None:
        run_ids = run_ids_of(project)
    for start in range(0, len(run_ids), RUNS_AT_ONCE):
        yield _judged(project, retention, run_ids[start : start + RUNS_AT_ONCE])


def run_ids_of(project: Project) -> list[str]:
    """The runs with checkpoints, the newest first."""
    found = checkpoints_of(project).order_by().values_list("run_id", "run__created_at").distinct()
    return [pk for pk, _at in sorted(found, key=lambda row: (row[1], row[0]), reverse=True)]


def _judged(project: Project, retention: Retention, run_ids: Sequence[str]) -> list[Judged]:
    checkpoints = list(
        checkpoints_of(project)
        .filter(run__in=run_ids)
        .select_related("run__project")
        .defer(*RUN_DOCUMENTS)
        .order_by("id")
    )
    values = _values(checkpoints, retention.metric) if retention.best else {}
    by_run: defaultdict[str, list[Candidate]] = defaultdict(list)
    reasons: dict[str, list[Text]] = {}
    for checkpoint in checkpoints:
        if (why := _is_no_candidate(checkpoint)) is not None:
            reasons[checkpoint.pk] = [why]
        else:
            by_run[checkpoint.run_id].append(_candidate(checkpoint, values.get(checkpoint.pk)))
    for candidates in by_run.values():
        reasons |= kept_by(retention, candidates) or newest_of(candidates)
    for pk, protections in protections_of(checkpoints).items():
        reasons[pk] = [*reasons.get(pk, ()), *protections]
    for pk in CheckpointDeletion.objects.taken_back(project.pk) & {it.pk for it in checkpoints}:
        why = Message("a person has taken it out of the trash")
        reasons[pk] = [*reasons.get(pk, ()), why]
    sizes = sizes_of(checkpoints)
    place = {pk: index for index, pk in enumerate(run_ids)}
    in_order = sorted(checkpoints, key=lambda it: it.step or 0, reverse=True)
    return [
        Judged(item, sizes[item.pk], reasons.get(item.pk, []), values.get(item.pk))
        for item in sorted(in_order, key=lambda it: place[it.run_id])
    ]


def _is_no_candidate(checkpoint: Artifact) -> Text | None:
    """Why the rules are not about this one; None if they are."""
    if checkpoint.damage:
        # Perhaps because it is still being uploaded.
        return Message("it is incomplete, and the policy is about whole ones")
    if checkpoint.folder and checkpoint.updated_at > timezone.now() - UPLOADED_WITHIN:
        return Message("it has just been uploaded, and more files of it may come")
    if checkpoint.layout == layouts.MODEL:
        return Message("it is a model, and the policy is about checkpoints of trainings")
    return None


def _candidate(checkpoint: Artifact, value: float | None) -> Candidate:
    step = checkpoint.step or 0
    order = (step, checkpoint.created_at.timestamp(), checkpoint.pk)
    return Candidate(checkpoint.pk, step, order, value)


def _values(checkpoints: Sequence[Artifact], metric: str) -> dict[str, float]:
    """Id -> the newest result of its evaluations, else the training's metric at its step."""
    places = [(item.run_id, item.step or 0, item.pk) for item in checkpoints]
    results = checkpoint_queries.results_of(places)
    metrics = checkpoint_queries.metrics_at([place[:2] for place in places], [metric])
    found = {}
    for item, told, measured in zip(checkpoints, results, metrics, strict=True):
        value = told.get(metric, measured.get(metric))
        if value is not None:
            found[item.pk] = value
    return found
