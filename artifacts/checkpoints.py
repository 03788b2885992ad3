"""Finds the checkpoint to resume a run from, and resumes runs from one."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.models import User

from artifacts.models import Artifact
from artifacts.upload_proofs import folder_problem
from core.exceptions import InvalidInput
from core.messages import Message
from runs import actions
from runs.checkpoint import Checkpoint
from runs.models import Run

logger = logging.getLogger(__name__)


class InvalidSource(InvalidInput):
    code = "invalid_source_artifact"


def latest_sound_checkpoint(run: Run) -> Artifact | None:
    """The run's latest whole checkpoint whose stored bytes match their recorded size and sha256.

    Reads the bytes, possibly gigabytes: do not call it while holding a row lock. Unusable
    checkpoints are logged and skipped.
    """
    for checkpoint in Artifact.objects.checkpoints_of(run):
        problem = checkpoint.problem()
        if problem is None and checkpoint.folder:  # of an earlier version: not judged yet
            problem = folder_problem(run, checkpoint.folder)
        if problem is None:
            checkpoint.note_verified()
            return checkpoint
        logger.error("checkpoint %s of run %s is unusable: %s", checkpoint.pk, run.pk, problem)
    return None


def resumed_from(run: Run) -> Artifact | None:
    """The checkpoint the run was resumed from; None if it started from scratch."""
    if run.resumed_from_id is None:
        return None
    return Artifact.every.select_related("run").get(pk=run.resumed_from_id)


def resume_run(source: Run, checkpoint: Artifact, *, by: User | None, **configuration: Any) -> Run:
    """Create a run with ``source``'s configuration, overridden by ``configuration``, that resumes
    from ``checkpoint``, which must belong to ``source``'s project: see runs.actions.resume_run.

    Raises InvalidSource and the exceptions of runs.actions.resume_run.
    """
    start = checked_source(source, checkpoint)
    return actions.resume_run(source, start, by=by, **configuration)


def checked_source(source: Run, checkpoint: Artifact) -> Checkpoint:
    """``checkpoint``, which a run of ``source``'s project can start from. Raises InvalidSource."""
    if not checkpoint.is_checkpoint:
        raise InvalidSource(
            Message("%(id)s is not a checkpoint.", id=checkpoint.pk), attr="source_artifact_id"
        )
    if checkpoint.damage:
        raise InvalidSource(
            Message(
                "Checkpoint %(id)s is damaged: %(damage)s.",
                id=checkpoint.pk,
                damage=checkpoint.damage,
            ),
            attr="source_artifact_id",
        )
    if checkpoint.run.project_id != source.project_id:
        raise InvalidSource(
            Message("%(id)s belongs to another project.", id=checkpoint.pk),
            attr="source_artifact_id",
        )
    return Checkpoint(checkpoint.pk, checkpoint.step or 0)
