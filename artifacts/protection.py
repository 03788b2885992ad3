"""Which checkpoints must not be removed, neither by a policy nor by a person, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, Protocol, TypeAlias, cast

from django.db.models import Q

from artifacts.kinds import TagValue
from artifacts.models import FINAL_CHECKPOINT_NAME, Artifact, ArtifactTag
from artifacts.signals import checkpoint_protection
from core.messages import Message, Text
from runs.models import RecipeKind, Run
from runs.status import TERMINAL

Protections = dict[str, list[Text]]


class Considered(Protocol):
    """What is asked of a checkpoint whose removal is considered: an Artifact, or part of its
    row."""

    @property
    def pk(self) -> Any: ...

    @property
    def run_id(self) -> str: ...

    @property
    def name(self) -> Text: ...

    @property
    def file(self) -> str: ...

    @property
    def is_uploaded(self) -> bool: ...


Checkpoints: TypeAlias = Collection[Considered]


def protections_of(checkpoints: Checkpoints, *, by_person: bool = False) -> Protections:
    """Id -> why it must stay; those that may go are not in it. ``by_person``: a person removes
    them, not a policy. A few statements for all of them, by their runs: there may be 100,000, whose
    ids would take longer to send than to ask about."""
    found: defaultdict[str, list[Text]] = defaultdict(list)
    if not checkpoints:
        return found
    answers = checkpoint_protection.send(Artifact, checkpoints=checkpoints, by_person=by_person)
    for told in cast("list[Protections]", [answer for _receiver, answer in answers]):
        for pk, reasons in told.items():
            found[pk] += reasons
    return found


def own_protections(*, checkpoints: Checkpoints, by_person: bool, **_signal: Any) -> Protections:
    """Receiver of checkpoint_protection: tags, runs that begin or go on from it, what a cancelled
    run has kept."""
    found: defaultdict[str, list[Text]] = defaultdict(list)
    runs = {checkpoint.run_id for checkpoint in checkpoints}
    for pk, value in _tags_in_force(runs).items():
        if not by_person:
            found[pk].append(Message("it has been tagged"))
        elif value != TagValue.ARCHIVED:
            found[pk].append(Message("it has been tagged, and not archived (归档) since"))
    for pk, name, is_evaluation in _begun_from(runs):
        if is_evaluation:
            found[pk].append(Message("the run %(name)s evaluates it", name=name))
        else:
            found[pk].append(Message("the run %(name)s was resumed from it", name=name))
    for pk in _next_of_runs(runs):
        found[pk].append(Message("its run, which is not over, would continue from it"))
    for checkpoint in checkpoints:
        if checkpoint.name == FINAL_CHECKPOINT_NAME:
            found[checkpoint.pk].append(Message("its run has kept it when it was cancelled"))
    return of_those(checkpoints, found)


def of_those(checkpoints: Checkpoints, found: Protections) -> Protections:
    """Without other checkpoints of their runs."""
    return {item.pk: found[item.pk] for item in checkpoints if item.pk in found}


def _tags_in_force(runs: Collection[str]) -> dict[str, str]:
    """Tagged checkpoint of one of ``runs`` -> its tag that was set last."""
    tags = ArtifactTag.objects.filter(artifact__run__in=runs).order_by("applied_at", "id")
    return dict(tags.values_list("artifact", "value"))  # of each, the last


def _begun_from(runs: Collection[str]) -> list[tuple[str, str, bool]]:
    """(checkpoint of one of ``runs``, name of a run begun from it, whether that evaluates), one for
    each checkpoint. Evaluations that are over need it no more."""
    ended_evaluation = Q(kind=RecipeKind.EVALUATION, status__in=TERMINAL)
    checkpoints = Artifact.every.checkpoints().filter(run__in=runs)
    begun = Run.objects.filter(resumed_from_id__in=checkpoints.values("pk"))
    rows = (
        begun.exclude(ended_evaluation)
        .order_by("resumed_from_id", "kind", "created_at")
        .values_list("resumed_from_id", "name", "kind")
    )
    first: dict[str, tuple[str, str, bool]] = {}
    for pk, name, kind in rows:
        assert pk is not None  # it is one of the checkpoints
        first.setdefault(pk, (pk, name, kind == RecipeKind.EVALUATION))
    return list(first.values())


def _next_of_runs(runs: Collection[str]) -> list[str]:
    """What each of these runs that is not over would continue from: its newest whole checkpoint."""
    active = Run.objects.filter(pk__in=runs).exclude(status__in=TERMINAL)
    resumable = Artifact.objects.filter(run__in=active.values("pk")).resumable()
    newest = resumable.latest_first("run_id").distinct("run_id")
    return list(newest.values_list("pk", flat=True))
