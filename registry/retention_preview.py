"""What a policy would remove from a project, and why everything else stays: a dry run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from artifacts import layouts
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.checkpoint_sizes import sizes_of
from artifacts.paths import folders_of
from artifacts.protection import protections_of
from core.messages import Message, Text
from projects.models import Project
from registry import checkpoint_queries, retention_queries
from registry.checkpoint_retention import Candidate, Retention, kept_by, newest_of
from registry.checkpoints import checkpoints_of
from registry.retention_queries import StoredCheckpoint

RUNS_AT_ONCE: Final = 200
# A folder is uploaded file by file, and looks whole before its last one has come.
UPLOADED_WITHIN: Final = timedelta(hours=1)


class Judged(NamedTuple):
    """A checkpoint, and why it stays; ``reasons`` are empty of one that would go. ``value``: of
    the policy's metric."""

    checkpoint: StoredCheckpoint
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
    checkpoints = retention_queries.checkpoints_of(project.pk, run_ids)
    values = _values(checkpoints, run_ids, retention.metric) if retention.best else {}
    by_run: defaultdict[str, list[Candidate]] = defaultdict(list)
    reasons: dict[str, list[Text]] = {}
    just_now = time.time() - UPLOADED_WITHIN.total_seconds()
    nested = _nested(checkpoints)
    for checkpoint in checkpoints:
        if checkpoint.pk in nested:
            reasons[checkpoint.pk] = [Message("it is inside of another one, or has one inside")]
        elif (why := _is_no_candidate(checkpoint, just_now)) is not None:
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
    return [
        Judged(item, sizes[item.pk], reasons.get(item.pk, []), values.get(item.pk))
        for item in checkpoints
    ]


def _nested(checkpoints: Sequence[StoredCheckpoint]) -> set[str]:
    """The ids of those whose files are also files of another one: a rule that removes one of them
    would remove them from both."""
    outer = {(item.run_id, item.folder): item.pk for item in checkpoints if item.folder}
    found = set()
    for item in checkpoints:
        for folder in folders_of(item.folder or item.file) if item.is_uploaded else ():
            if (item.run_id, folder) in outer:
                found |= {item.pk, outer[item.run_id, folder]}
    return found


def _is_no_candidate(checkpoint: StoredCheckpoint, just_now: float) -> Text | None:
    """Why the rules are not about this one; None if they are. ``just_now``: Unix time."""
    if checkpoint.is_damaged:
        # Perhaps because it is still being uploaded.
        return Message("it is incomplete, and the policy is about whole ones")
    if checkpoint.folder and checkpoint.updated > just_now:
        return Message("it has just been uploaded, and more files of it may come")
    if checkpoint.layout == layouts.MODEL:
        return Message("it is a model, and the policy is about checkpoints of trainings")
    return None


def _candidate(checkpoint: StoredCheckpoint, value: float | None) -> Candidate:
    step = checkpoint.step or 0
    return Candidate(checkpoint.pk, step, (step, checkpoint.created, checkpoint.pk), value)


def _values(
    checkpoints: Sequence[StoredCheckpoint], run_ids: Sequence[str], metric: str
) -> dict[str, float]:
    """Id -> the newest result of its evaluations, else the training's metric at its step."""
    found = retention_queries.results_of(checkpoints, run_ids, metric)
    others = [item for item in checkpoints if item.pk not in found]
    places = [(item.run_id, item.step or 0) for item in others]
    measured = checkpoint_queries.metrics_at(places, [metric])
    found |= {item.pk: told[metric] for item, told in zip(others, measured, strict=True) if told}
    return found
