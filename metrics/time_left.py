"""How long a run will still take, from its recent rate of steps.

The steps that the current attempt has reported are halved, and the later half, at most that of the
last two hours, is cut into eight spans of equal steps. The mean pace of the whole, in seconds a
step, times the steps that are left is the estimate: pauses for evaluations and checkpoints are in
it as often as they occur. The paces of the eight spans are taken for independent samples of that
mean: their standard error, times Student's t for 90 % and as many degrees of freedom as there are
spans but one, is the uncertainty, and at least 3 % of the estimate.

Nothing is known of a run that does not run, is silent or stopping, has no total of steps, or has
reported too few steps, less than ten seconds of them, or times that do not rise.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from metrics.pace_queries import Clock, clocks, times_at
from runs.models import Run
from runs.status import RunStatus

SPANS: Final = 8
MIN_SPANS: Final = 3
MIN_SECONDS: Final = 10.0
WINDOW_SECONDS: Final = 2 * 3600.0
MIN_UNCERTAINTY: Final = 0.03
MAX_SECONDS: Final = 10 * 365 * 86_400.0
# Student's t, two-sided 90 %, by degrees of freedom from 1.
T_90: Final = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895)


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """From the last reported step on. ``low`` to ``high``: 90 % of such estimates are within."""

    estimate: timedelta
    low: timedelta
    high: timedelta


def time_left(run: Run) -> TimeLeft | None:
    """None if it cannot be known."""
    return times_left([run]).get(run.pk)


def times_left(runs: Iterable[Run]) -> dict[str, TimeLeft]:
    """Run → its time left, of those of which it can be known. Two statements."""
    advancing = {run.pk: run for run in runs if _advances(run)}
    places = [(run.pk, run.step, run.start_step) for run in advancing.values()]
    found = [
        (clock, (advancing[clock.run_id].total_steps or 0) - clock.last_step)
        for clock in (clocks(places) if places else [])
    ]
    known = [(clock, steps_left) for clock, steps_left in found if steps_left >= 0]
    if not known:
        return {}
    times = times_at([(clock, _steps_of_window(clock)) for clock, _left in known])
    estimates = {
        clock.run_id: estimate(times[clock.run_id], steps_left) for clock, steps_left in known
    }
    return {run_id: left for run_id, left in estimates.items() if left is not None}


def _advances(run: Run) -> bool:
    """Whether the run is on its way to the last of a known number of steps."""
    is_working = run.status == RunStatus.RUNNING and not run.is_stopping and not run.silent_since
    return is_working and run.total_steps is not None and run.step < run.total_steps


def _steps_of_window(found: Clock) -> list[int]:
    """The bounds of the spans, the last step included."""
    reported = found.last_step - found.first_step
    seconds = (found.last_ms - found.first_ms) / 1000
    window = reported if reported < 2 * SPANS else reported // 2
    if seconds > WINDOW_SECONDS:
        window = min(window, max(SPANS, int(reported * WINDOW_SECONDS / seconds)))
    return [found.last_step - window * place // SPANS for place in range(SPANS, -1, -1)]


def estimate(points: list[tuple[int, int]], steps_left: int) -> TimeLeft | None:
    """``points``: (step, Unix milliseconds), in order; their last is where the run is."""
    spans = [
        ((after[1] - before[1]) / 1000, after[0] - before[0]) for before, after in pairwise(points)
    ]
    seconds = sum(span[0] for span in spans)
    if len(spans) < MIN_SPANS or seconds < MIN_SECONDS or any(taken < 0 for taken, _steps in spans):
        return None
    mean = seconds / sum(span[1] for span in spans)
    paces = [taken / steps for taken, steps in spans]
    error = statistics.stdev(paces) / len(paces) ** 0.5 * T_90[min(len(paces) - 1, len(T_90)) - 1]
    margin = max(error, mean * MIN_UNCERTAINTY)
    if (mean + margin) * steps_left > MAX_SECONDS:
        return None
    return TimeLeft(
        *(
            timedelta(seconds=max(0.0, pace) * steps_left)
            for pace in (mean, mean - margin, mean + margin)
        )
    )
