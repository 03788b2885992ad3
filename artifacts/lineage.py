"""The lineage of a run: the checkpoint it was resumed from, that one's run, and so on."""

from __future__ import annotations

from dataclasses import dataclass

from artifacts import lineage_queries
from artifacts.models import Artifact
from core.numbers import MAX_BIGINT
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A run that another continues, and the checkpoint of it that the other was resumed from."""

    run: Run
    checkpoint: Artifact


def ancestors(run: Run, *, at_most: int = MAX_BIGINT) -> list[Ancestor]:
    """The runs that ``run`` continues, the nearest first; empty if it began from scratch. Two
    queries, whatever their number. Those in the trash are included."""
    if run.resumed_from_id is None:
        return []
    ids = lineage_queries.ancestors(run.pk, at_most)
    checkpoints = Artifact.every.select_related("run__created_by").in_bulk(ids)
    found = [checkpoints[pk] for pk in ids if pk in checkpoints]
    return [Ancestor(checkpoint.run, checkpoint) for checkpoint in found]
