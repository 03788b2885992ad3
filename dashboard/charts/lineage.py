"""The runs whose curves make up the whole curve of a resumed run."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User

from artifacts.lineage import ancestors
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
    trash, or that ``user`` may not see. At most three queries."""
    found = [Segment(run, None)]
    chain = ancestors(run, at_most=MAX_ANCESTORS)
    if not chain:
        return found
    checkpoints = Artifact.every.visible_to(user).filter(
        pk__in=[ancestor.checkpoint.pk for ancestor in chain], run__deleted_at=None
    )
    seen = set(checkpoints.values_list("pk", flat=True))
    runs = {run.pk}
    for ancestor in chain:
        if ancestor.checkpoint.pk not in seen or ancestor.run.pk in runs:
            break
        runs.add(ancestor.run.pk)
        step = ancestor.checkpoint.step
        found.append(Segment(ancestor.run, found[-1].run.start_step if step is None else step))
    return found
