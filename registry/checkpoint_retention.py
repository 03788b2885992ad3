"""Which checkpoints of one run a policy keeps: arithmetic alone, without rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.messages import Message, Text


class Mode(models.TextChoices):
    MIN = "min", _("lowest")
    MAX = "max", _("highest")


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of a policy. A checkpoint is kept if one of them keeps it. 0: no such rule.

    ``best``: so many by ``metric``, of which ``mode`` is best; ``last``: so many newest ones;
    ``every``: those at steps that are multiples of it.
    """

    metric: str = ""
    mode: Mode = Mode.MIN
    best: int = 0
    last: int = 0
    every: int = 0


class Candidate(NamedTuple):
    """A whole checkpoint of a training. ``order``: a later one is greater; ``value``: of the
    metric, None if it was not measured."""

    id: str
    step: int
    order: tuple[int, float, str]
    value: float | None = None


def kept_by(retention: Retention, candidates: Sequence[Candidate]) -> dict[str, list[Text]]:
    """Id -> which rules keep it, of the checkpoints of one run. Those that none keeps are not in
    it.

    If nothing of the run was measured, the rule of the best cannot judge, and keeps all; it also
    keeps what may still be measured.
    """
    kept: defaultdict[str, list[Text]] = defaultdict(list)
    newest_first = sorted(candidates, key=lambda it: it.order, reverse=True)
    if retention.best:
        _keep_best(retention, newest_first, kept)
    for candidate in newest_first[: retention.last]:
        kept[candidate.id].append(Message("one of the last %(n)d", n=retention.last))
    for candidate in newest_first:
        if retention.every and candidate.step % retention.every == 0:
            kept[candidate.id].append(Message("its step is a multiple of %(n)d", n=retention.every))
    return dict(kept)


def newest_of(candidates: Sequence[Candidate]) -> dict[str, list[Text]]:
    """What stays of a run of which no rule keeps any: no run loses all that it has saved."""
    newest = max(candidates, key=lambda it: it.order)
    return {newest.id: [Message("no rule keeps another one of its run")]}


def _keep_best(
    retention: Retention, newest_first: list[Candidate], kept: defaultdict[str, list[Text]]
) -> None:
    """Of equal values, the newer checkpoint is better."""
    measured = [
        (candidate.value, candidate)
        for candidate in newest_first
        if candidate.value is not None and not math.isnan(candidate.value)
    ]
    if not measured:
        for candidate in newest_first:
            kept[candidate.id].append(
                Message("%(metric)s was not measured in its run", metric=retention.metric)
            )
        return
    for candidate in _to_be_measured(retention, newest_first, len(measured)):
        kept[candidate.id].append(
            Message("%(metric)s was not measured yet", metric=retention.metric)
        )
    sign = 1 if retention.mode is Mode.MIN else -1
    measured.sort(key=lambda it: sign * it[0])  # stable: the newest first
    for _value, candidate in measured[: retention.best]:
        kept[candidate.id].append(
            Message(
                "one of the best %(n)d by %(metric)s", n=retention.best, metric=retention.metric
            )
        )


def _to_be_measured(
    retention: Retention, newest_first: list[Candidate], measured: int
) -> Iterable[Candidate]:
    """Evaluations come after the checkpoint: what is newer than all that have a value may still get
    one. As long as there are fewer values than the best, anything may."""
    if measured < retention.best:
        return (candidate for candidate in newest_first if candidate.value is None)
    return takewhile(lambda it: it.value is None, newest_first)
