"""What came of a simulation, in numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from execution.cluster_simulation.cluster import Outcome, SimulatedRun
from execution.cluster_simulation.trace import EVALUATION

LONG_WAIT_SECONDS: Final = 600.0
SIZES: Final = (1, 8, 64, 256)  # the smallest of each class, in GPUs


@dataclass(frozen=True, slots=True)
class Waits:
    """Of a group of runs, in seconds."""

    group: str
    runs: int
    median: float
    p95: float
    mean: float


def quantile(numbers: Sequence[float], share: float) -> float:
    """The nearest rank; NaN of nothing."""
    if not numbers:
        return math.nan
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def waits_by(outcome: Outcome, group_of: Callable[[SimulatedRun], str]) -> list[Waits]:
    groups: dict[str, list[float]] = defaultdict(list)
    for run in outcome.runs:
        if run.waited is not None:
            groups[group_of(run)].append(run.waited)
    return [
        Waits(
            group,
            len(waited),
            median(waited),
            quantile(waited, 0.95),
            sum(waited) / len(waited),
        )
        for group, waited in sorted(groups.items())
    ]


def kind_of(run: SimulatedRun) -> str:
    return run.job.kind


def size_of(run: SimulatedRun) -> str:
    """The class of its number of GPUs."""
    lowest = max(size for size in SIZES if size <= run.job.gpu_count)
    place = SIZES.index(lowest)
    last = f"{SIZES[place + 1] - 1}" if place + 1 < len(SIZES) else ""
    return f"{lowest:>4} – {last}" if last else f"{lowest:>4} –"


@dataclass(frozen=True, slots=True)
class Summary:
    """``utilization``: GPU time in use while runs were submitted, ÷ what there was; ``goodput``:
    work that was kept ÷ GPU time in use; ``fairness``: Jain's index of the slowdowns of the
    projects, GPU time with waiting ÷ GPU time (1: all alike; Jain, Chiu, Hawe 1984);
    ``estimate_error``: the median of |estimated - real| ÷ real waiting from then on, of those that
    waited longer than ten minutes, of which there were ``estimates``."""

    utilization: float
    evaluation_p95: float
    wait_median: float
    wait_p95: float
    goodput: float
    fairness: float
    restarts: int
    preemptions: int
    decision_ms: float
    decision_p95_ms: float
    claims: int
    estimate_error: float
    estimates: int
    seconds: float


def summary(outcome: Outcome) -> Summary:
    waited = [run.waited for run in outcome.runs if run.waited is not None]
    evaluations = [
        run.waited for run in outcome.runs if run.job.kind == EVALUATION and run.waited is not None
    ]
    held = sum(run.held_seconds * run.job.gpu_count for run in outcome.runs)
    lost = sum(run.lost_seconds * run.job.gpu_count for run in outcome.runs)
    errors = estimate_errors(outcome)
    decisions = [seconds * 1000 for seconds in outcome.decisions]
    return Summary(
        utilization=utilization(outcome),
        evaluation_p95=quantile(evaluations, 0.95),
        wait_median=median(waited) if waited else math.nan,
        wait_p95=quantile(waited, 0.95),
        goodput=(held - lost) / held if held else math.nan,
        fairness=fairness(outcome.runs),
        restarts=sum(run.restarts for run in outcome.runs),
        preemptions=sum(run.preemptions for run in outcome.runs),
        decision_ms=sum(decisions) / len(decisions) if decisions else math.nan,
        decision_p95_ms=quantile(decisions, 0.95),
        claims=outcome.claimed,
        estimate_error=median(errors) if errors else math.nan,
        estimates=len(errors),
        seconds=outcome.seconds,
    )


def utilization(outcome: Outcome) -> float:
    """While runs were submitted: what is left after that would count the tail of the last runs."""
    end = max((run.job.submitted for run in outcome.runs), default=0.0)
    return used_gpu_seconds(outcome, end) / (outcome.gpus * end) if end else math.nan


def used_gpu_seconds(outcome: Outcome, until: float) -> float:
    total, since, used = 0.0, 0.0, 0
    for at, count in [*outcome.used, (until, 0)]:
        end = min(at, until)
        total += used * max(0.0, end - since)
        since, used = max(since, end), count
    return total


def fairness(runs: Sequence[SimulatedRun]) -> float:
    work: dict[str, float] = defaultdict(float)
    waited: dict[str, float] = defaultdict(float)
    for run in runs:
        if run.waited is not None:
            work[run.job.project] += run.job.gpu_count * run.job.seconds
            waited[run.job.project] += run.job.gpu_count * run.waited
    slowdowns = [1 + waited[project] / work[project] for project in work if work[project]]
    squares = sum(slowdown * slowdown for slowdown in slowdowns)
    return sum(slowdowns) ** 2 / (len(slowdowns) * squares) if squares else math.nan


def estimate_errors(outcome: Outcome) -> list[float]:
    errors = []
    for run in outcome.runs:
        if run.estimate is None or run.started is None or run.waited is None:
            continue
        made, told = run.estimate
        if run.waited > LONG_WAIT_SECONDS and run.started > made:
            errors.append(abs(told - run.started) / (run.started - made))
    return errors
