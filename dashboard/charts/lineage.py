"""The runs whose curves make up the whole curve of a resumed run."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User

from artifacts.models import Artifact
from runs.models import Run

MAX_ANCESTORS = 50


@dataclass(frozen=True, slots=True)
class Segment:
    """A run's part of a curve."""

    run: Run
    until_step: int | None  # where its successor was resumed; None for the run itself


def segments(run: Run, user: User) -> list[Segment]:
    """``run`` and the runs it was resumed from, the newest first. Ends before one that is in the
    trash, or that ``user`` may not see."""
    found = [Segment(run, None)]
    seen = {run.pk}
    while found[-1].run.resumed_from_id is not None and len(found) <= MAX_ANCESTORS:
        child = found[-1].run
        checkpoint = (
            Artifact.objects.visible_to(user)
            .select_related("run")
            .filter(pk=child.resumed_from_id, run__deleted_at=None)
            .first()
        )
        if checkpoint is None or checkpoint.run_id in seen:
            break
        seen.add(checkpoint.run_id)
        step = checkpoint.step if checkpoint.step is not None else child.start_step
        found.append(Segment(checkpoint.run, step))
    return found
