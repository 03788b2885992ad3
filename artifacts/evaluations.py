"""Keeps the numbers of a run's evaluations, so that ranking checkpoints reads no files.

The numbers of a step belong to the run's newest checkpoint up to it. A training that rewrites its
evaluation.json has numbers for each step that it evaluated. Those of an evaluation run
(evaluation_runs.py) belong to the checkpoint that it evaluates.
"""

from __future__ import annotations

import re
from typing import Final

from django.db import transaction
from django.db.models import Q

from artifacts.evaluation_numbers import MAX_BYTES, Evaluation, read_evaluation
from artifacts.kinds import ArtifactType
from artifacts.layouts import step_in, step_of
from artifacts.models import Artifact, ArtifactQuerySet, EvaluationResult, ignored_metadata
from core.text import MAX_KEY_LENGTH
from runs.models import RecipeKind, Run

MAX_STEPS: Final = 1000  # of one file: beyond them, the oldest are dropped
_PLAIN_NAMES: Final = frozenset(
    {
        *("evaluation", "evaluations", "eval", "eval_results", "evaluation_results"),
        *("result", "results", "all_results", "metrics", "scores"),
    }
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")


def unindexed() -> ArtifactQuerySet:
    """The evaluations of an earlier version, whose numbers are not kept yet."""
    return Artifact.objects.filter(type=ArtifactType.EVALUATION).exclude(
        metadata__has_key="numbers"
    )


def index_stored(artifact: Artifact) -> int:
    """Read the stored file and keep its numbers; return how many. None are kept if the file has
    been replaced meanwhile: whoever did so reads the new one. Raises FileNotFoundError,
    Run.DoesNotExist."""
    with artifact.open(end=MAX_BYTES + 1) as file:
        content = file.read(MAX_BYTES + 1)
    evaluation = read_evaluation(content)
    with transaction.atomic():
        run = Run.objects.lock(artifact.run_id)
        if not Artifact.objects.filter(pk=artifact.pk, sha256=artifact.sha256).exists():
            return 0
        index(run, artifact, evaluation)
    return len(evaluation.numbers)


def index(run: Run, artifact: Artifact, evaluation: Evaluation) -> None:
    """Make ``evaluation`` what ``artifact`` tells of its step. Call with the run's row locked. What
    a run tells that evaluates a checkpoint is of this checkpoint."""
    checkpoint = evaluated_checkpoint(run)
    step = (checkpoint.step or 0) if checkpoint else _step_of(run, artifact, evaluation)
    prefix = "" if evaluation.names_tasks else _prefix_of(artifact)
    numbers = {prefix + key: value for key, value in evaluation.numbers.items()}
    results = EvaluationResult.objects.filter(artifact=artifact)
    results.filter(step=step).delete()
    EvaluationResult.objects.bulk_create(
        EvaluationResult(
            project_id=run.project_id,
            run_id=run.pk if checkpoint is None else checkpoint.run_id,
            artifact=artifact,
            checkpoint=checkpoint,
            evaluated_by=None if checkpoint is None else run,
            step=step,
            key=key,
            value=value,
            created_at=artifact.updated_at,
        )
        for key, value in numbers.items()
        if len(key) <= MAX_KEY_LENGTH
    )
    steps = results.order_by("-step").values_list("step", flat=True).distinct()
    for oldest in steps[MAX_STEPS : MAX_STEPS + 1]:
        results.filter(step__lte=oldest).delete()
    artifact.metadata = {
        **{key: value for key, value in artifact.metadata.items() if key != "ignored"},
        "numbers": len(evaluation.numbers),
        **ignored_metadata(evaluation.problem),
    }
    Artifact.objects.filter(pk=artifact.pk).update(metadata=artifact.metadata)


def evaluated_checkpoint(run: Run) -> Artifact | None:
    """What ``run`` evaluates; None if it is no such run."""
    if run.kind != RecipeKind.EVALUATION or run.resumed_from_id is None:
        return None
    return Artifact.every.filter(pk=run.resumed_from_id).first()


def _prefix_of(artifact: Artifact) -> str:
    """``mmlu/`` for an uploaded mmlu.json: each benchmark may have a file with the same keys. None
    for names that say no more than that they are results, or of when."""
    name = artifact.file.rpartition("/")[2].removesuffix(".json")
    is_named = name.lower() not in _PLAIN_NAMES and step_in(name) is None
    return f"{name}/" if artifact.is_uploaded and is_named and not _TIME.search(name) else ""


def _step_of(run: Run, artifact: Artifact, evaluation: Evaluation) -> int:
    """What was evaluated: the checkpoint that the file names, the step that it tells, that of the
    client, or of the file's path; else where the training is."""
    steps = (
        _step_of_named(run, evaluation.checkpoint) if evaluation.checkpoint else None,
        evaluation.step,
        artifact.step,
        step_of(artifact.file) if artifact.is_uploaded else None,
        run.step,
    )
    return next(step for step in steps if step is not None)


def _step_of_named(run: Run, checkpoint: str) -> int | None:
    """The step of the run's checkpoint with this id or path, or name at the end of a path."""
    name = checkpoint.rpartition("/")[2]
    at_path = Q(file=checkpoint) | Q(file__startswith=f"{checkpoint}/")
    saved = Q(metadata__saved_as__in=[checkpoint, name])
    found = Artifact.objects.checkpoints().filter(
        Q(pk=checkpoint) | Q(file=name) | at_path | saved, run=run
    )
    steps = found.exclude(step=None).order_by("-step").values_list("step", flat=True)
    known = steps.first()
    if known is None:
        named = (step_of(path) for path in (checkpoint, f"{checkpoint}/model.safetensors"))
        known = next((step for step in named if step is not None), None)
    return known
