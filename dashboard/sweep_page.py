"""What the page of a sweep shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.db.models import F, QuerySet

from dashboard.comparison import address as comparison
from sweeps.models import Goal, Sweep, SweepTrial, TrialState

WIDTH: Final = 800
HEIGHT: Final = 180
MARGIN: Final = 8
# Values beyond this share of the best ones are drawn at the edge: one bad trial would flatten all.
SHOWN_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    number: int
    value: float
    state: str
    is_beyond: bool


@dataclass(frozen=True, slots=True)
class History:
    """The values of the trials in their order, and the best one so far, as a picture."""

    dots: list[Dot]
    best: str  # the path of an SVG
    low: float
    high: float
    last: int  # number of a trial


def history_of(sweep: Sweep) -> History | None:
    """None for fewer than two finite values."""
    rows = sweep.trials.filter(state__in=[TrialState.COMPLETE, TrialState.PRUNED])
    found = rows.order_by("number").values_list("number", "value", "state")
    values = [
        (number, value, state)
        for number, value, state in found
        if value is not None and abs(value) <= 1e300
    ]
    if len(values) < 2:
        return None
    is_less = sweep.goal == Goal.MINIMIZE
    ordered = sorted((value for _number, value, _state in values), reverse=not is_less)
    edge = ordered[max(1, round(SHOWN_SHARE * len(ordered))) - 1]
    low, high = sorted((ordered[0], edge))
    last = max(1, values[-1][0])

    def x(number: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * number / last

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    dots = [
        Dot(x(number), y(value), number, value, state, not low <= value <= high)
        for number, value, state in values
    ]
    return History(dots, _best_path(dots, is_less=is_less), low, high, last)


def _best_path(dots: Sequence[Dot], *, is_less: bool) -> str:
    """A step at each complete trial that is better than those before."""
    path, best = "", None
    for dot in dots:
        if dot.state != TrialState.COMPLETE:
            continue
        if best is None:
            path = f"M{dot.x:.1f} {dot.y:.1f}"
        elif (dot.value < best) if is_less else (dot.value > best):
            path += f"H{dot.x:.1f}V{dot.y:.1f}"
        else:
            continue
        best = dot.value
    return f"{path}H{WIDTH - MARGIN}" if path else ""


def in_order(sweep: Sweep, order: str) -> QuerySet[SweepTrial]:
    """``order``: "value", the best first and those without one last; else the newest first."""
    trials = sweep.trials.select_related("run")
    if order != "value":
        return trials.order_by("-number")
    value = F("value")
    by_value = (
        value.asc(nulls_last=True) if sweep.goal == Goal.MINIMIZE else value.desc(nulls_last=True)
    )
    return trials.order_by(by_value, "number")


def parallel_url(sweep: Sweep) -> str:
    """Parallel coordinates of the best runs, of as many as can be compared; "" for fewer than 2."""
    best = in_order(sweep, "value").filter(run__isnull=False, run__deleted_at=None)
    ids = list(best.values_list("run_id", flat=True)[: comparison.MAX_RUNS])
    if len(ids) < 2:
        return ""
    stat = "last" if sweep.value_of == "last" else "best"
    columns = [f"params.{name}" for name in sweep.search_space]
    query = [("tab", "parallel"), *(("columns", name) for name in columns)]
    query.append(("columns", f"{stat}:{sweep.metric}"))
    return f"{comparison.url_of(ids)}&{urlencode(query)}"
