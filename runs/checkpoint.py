"""What runs need to know about a checkpoint. Artifacts are in an app above this one."""

from dataclasses import dataclass

from core.exceptions import DomainError


class CheckpointGone(DomainError):
    code = "artifact_gone"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's id, and the step whose state it holds."""

    id: str
    step: int
