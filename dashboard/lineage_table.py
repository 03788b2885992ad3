"""The family of a run as its page shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from artifacts.family import Member, family_of
from metrics.goals import Direction, direction_of
from metrics.key_metrics import main_metric
from metrics.models import MetricSeries
from runs.models import Run

DEEPEST: Final = 10  # lists in each other; later generations are in the last one


@dataclass(slots=True)
class Branch:
    """A run with those that came of it. ``kinship``: to ``parent``, which is None where it is the
    branch that this one is in. ``from_step`` to ``to_step``: what it trained itself; ``best``: of
    the family's main metric; None if it has none, or none is known to be best."""

    run: Run
    kinship: str
    parent: Run | None
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
    generations = list(family.members())
    members = [member for _generation, member in generations]
    counts = Counter(key for member in members for key in member.run.metrics)
    metric = main_metric(counts, run.project)
    best = _best(members, metric) if metric else {}
    return Lineage(
        root=_tree(generations, best, here=run.pk),
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


def _tree(
    generations: list[tuple[int, Member]], best: dict[str, float | None], *, here: str
) -> Branch:
    open_branches: list[Branch] = []  # from the root to the latest one
    parents: dict[str, Run] = {}
    for generation, member in generations:
        run = member.run
        depth = min(generation, DEEPEST)
        branch = Branch(
            run=run,
            kinship=member.kinship,
            parent=parents.get(run.pk) if generation > DEEPEST else None,
            from_step=run.start_step,
            to_step=run.step,
            best=best.get(run.pk),
            is_here=run.pk == here,
        )
        parents |= {child.run.pk: run for child in member.children}
        del open_branches[depth:]
        if open_branches:
            open_branches[-1].children.append(branch)
        open_branches.append(branch)
    return open_branches[0]
