"""The base class of executors, which stores checkpoints as artifacts."""

from __future__ import annotations

from artifacts.checkpoints import latest_sound_checkpoint
from artifacts.models import Artifact
from runs.checkpoint import Checkpoint
from runs.executors import Executor
from runs.models import Run


def checkpoint_of(artifact: Artifact) -> Checkpoint:
    return Checkpoint(artifact.pk, artifact.step or 0)


class CheckpointExecutor(Executor):
    """An executor whose work saves its own checkpoints."""

    def latest_checkpoint(self, run: Run) -> Checkpoint | None:
        artifact = latest_sound_checkpoint(run)
        return None if artifact is None else checkpoint_of(artifact)

    def keep_checkpoint(self, run: Run, latest: Checkpoint | None) -> Checkpoint | None:
        if latest is None:
            return None
        artifact = Artifact.objects.filter(pk=latest.id).first()
        if artifact is None:  # a client has deleted the file in the meantime
            artifact = latest_sound_checkpoint(run)
        if artifact is None:
            return None
        artifact.name_final()
        return checkpoint_of(artifact)
