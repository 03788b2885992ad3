"""The family of a run as its page shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from artifacts.family import Member, family_of
from metrics.goals import Direction, direction_of
from metrics.key_metrics import main_metric
from metrics.models import MetricSeries
from runs.models import Run


@dataclass(slots=True)
class Branch:
    """A run with those that came of it. ``from_step`` to ``to_step``: what it trained itself;
    ``best``: of the family's main metric; None if it has none, or none is known to be best."""

    run: Run
    kinship: str
    from_step: int
    to_step: int
    best: float | None
    is_here: bool
    children: list[Branch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lineage:
    root: Branch
    count: int
    is_cut: bool
    metric: str | None


def lineage(run: Run) -> Lineage:
    family = family_of(run)
    members = family.members()
    counts = Counter(key for member in members for key in member.run.metrics)
    metric = main_metric(counts, run.project)
    best = _best(members, metric) if metric else {}
    return Lineage(
        root=_branch(family.root, best, here=run.pk),
        count=len(members),
        is_cut=family.is_cut,
        metric=metric,
    )


def _best(members: list[Member], metric: str) -> dict[str, float | None]:
    direction = direction_of(metric)
    if direction is None:
        return {}
    column = "minimum" if direction is Direction.LOWER else "maximum"
    series = MetricSeries.objects.filter(key=metric, run__in=[member.run for member in members])
    return dict(series.values_list("run_id", column))


def _branch(member: Member, best: dict[str, float | None], *, here: str) -> Branch:
    run = member.run
    return Branch(
        run=run,
        kinship=member.kinship,
        from_step=run.start_step,
        to_step=run.step,
        best=best.get(run.pk),
        is_here=run.pk == here,
        children=[_branch(child, best, here=here) for child in member.children],
    )
