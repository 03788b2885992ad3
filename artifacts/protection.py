"""Which checkpoints must not be removed, neither by a policy nor by a person, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, cast

from django.db.models import Q

from artifacts.models import FINAL_CHECKPOINT_NAME, Artifact, ArtifactTag
from artifacts.signals import checkpoint_protection
from core.messages import Message, Text
from runs.models import RecipeKind, Run
from runs.status import TERMINAL

Protections = dict[str, list[Text]]


def protections_of(checkpoints: Collection[Artifact]) -> Protections:
    """Id -> why it must stay; those that may go are not in it. A few statements for all of them,
    and one for each run that is not over. The checkpoints have their runs."""
    found: defaultdict[str, list[Text]] = defaultdict(list)
    if not checkpoints:
        return found
    answers = checkpoint_protection.send(Artifact, checkpoints=checkpoints)
    for told in cast("list[Protections]", [answer for _receiver, answer in answers]):
        for pk, reasons in told.items():
            found[pk] += reasons
    return found


def own_protections(*, checkpoints: Collection[Artifact], **_signal: Any) -> Protections:
    """Receiver of checkpoint_protection: tags, runs that begin or go on from it, what a cancelled
    run has kept."""
    found: defaultdict[str, list[Text]] = defaultdict(list)
    ids = {checkpoint.pk for checkpoint in checkpoints}
    tags = ArtifactTag.objects.filter(artifact__in=ids).order_by("applied_at", "id")
    for pk in dict.fromkeys(tags.values_list("artifact", flat=True)):
        found[pk].append(Message("it has been tagged"))
    for pk, name, is_evaluation in _begun_from(ids):
        if is_evaluation:
            found[pk].append(Message("the run %(name)s evaluates it", name=name))
        else:
            found[pk].append(Message("the run %(name)s was resumed from it", name=name))
    for pk in _next_of_runs({checkpoint.run_id: checkpoint.run for checkpoint in checkpoints}):
        if pk in ids:
            found[pk].append(Message("its run, which is not over, would continue from it"))
    for checkpoint in checkpoints:
        if checkpoint.name == FINAL_CHECKPOINT_NAME:
            found[checkpoint.pk].append(Message("its run has kept it when it was cancelled"))
    return found


def _begun_from(ids: Collection[str]) -> list[tuple[str, str, bool]]:
    """(checkpoint, name of the run, whether it evaluates): one run for each checkpoint. Evaluations
    that are over need it no more."""
    ended_evaluation = Q(kind=RecipeKind.EVALUATION, status__in=TERMINAL)
    runs = Run.objects.filter(resumed_from_id__in=list(ids)).exclude(ended_evaluation)
    rows = runs.order_by("resumed_from_id", "kind", "created_at").values_list(
        "resumed_from_id", "name", "kind"
    )
    first: dict[str, tuple[str, str, bool]] = {}
    for pk, name, kind in rows:
        assert pk is not None  # it is one of the ids
        first.setdefault(pk, (pk, name, kind == RecipeKind.EVALUATION))
    return list(first.values())


def _next_of_runs(runs: dict[str, Run]) -> list[str]:
    """What each of these runs that is not over would continue from: its newest whole checkpoint."""
    active = Run.objects.filter(pk__in=list(runs)).exclude(status__in=TERMINAL)
    newest = (Artifact.objects.checkpoints_of(run).first() for run in active.only("pk"))
    return [checkpoint.pk for checkpoint in newest if checkpoint is not None]
