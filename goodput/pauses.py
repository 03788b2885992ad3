"""How long a training paused to save and to evaluate, estimated from the times of its steps.

A script says neither when it begins to save nor when it has saved; but around a checkpoint, and
around an evaluation, the next step comes later than its pace lets expect. What it takes longer than
the attempt's median pace is the pause. Of that, evaluating is what had passed when the evaluation's
metrics were reported; the rest is saving, if there is a checkpoint. What is not at least a tenth
longer than expected is no pause: paces vary.

A checkpoint that is written while the training goes on takes none of its time, and none is found.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from goodput.account import Interval
from goodput.parts import Part

MIN_EXCESS: Final = 0.1  # of the time that is expected


@dataclass(frozen=True, slots=True)
class Probe:
    """Two consecutive points of a metric around a step: (step, when), in microseconds."""

    before: tuple[int, int]
    after: tuple[int, int] | None

    @property
    def pace(self) -> float | None:
        """Microseconds a step."""
        if self.after is None or self.after[0] <= self.before[0]:
            return None
        return max(0, self.after[1] - self.before[1]) / (self.after[0] - self.before[0])


def median_pace(probes: Iterable[Probe]) -> float:
    """In microseconds a step; 0 if nothing is known."""
    paces = [pace for pace in (probe.pace for probe in probes) if pace is not None]
    return statistics.median(paces) if paces else 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A gap between two points in which there was a checkpoint, or an evaluation, or both.
    ``evaluated``: when the latter had been reported."""

    probe: Probe
    saves: bool
    evaluated: int | None


def places(
    saves: Iterable[Probe], evaluations: Iterable[tuple[Probe, int]], *, end: int | None
) -> list[Place]:
    """``saves``: around each checkpoint; ``evaluations``: around each, with when it was reported.
    ``end``: of a training that has completed, which may save after its last point."""
    found: dict[tuple[int, int], Place] = {}
    for probe, at in evaluations:
        known = found.get(probe.before)
        latest = at if known is None or known.evaluated is None else max(at, known.evaluated)
        found[probe.before] = Place(_closed(probe, end), saves=False, evaluated=latest)
    for probe in saves:
        known = found.get(probe.before)
        evaluated = None if known is None else known.evaluated
        found[probe.before] = Place(_closed(probe, end), saves=True, evaluated=evaluated)
    return list(found.values())


def _closed(probe: Probe, end: int | None) -> Probe:
    if probe.after is not None or end is None:
        return probe
    return Probe(probe.before, (probe.before[0], end))


def pauses(around: Sequence[Place], pace: float) -> Iterator[Interval]:
    """The pauses at these places; ``pace``: the attempt's median, in microseconds a step."""
    for place in around:
        yield from _pauses_at(place, pace)


def _pauses_at(place: Place, pace: float) -> Iterator[Interval]:
    (step, begin), after = place.probe.before, place.probe.after
    if after is None:  # the attempt ended there: only what was reported is known to be over
        after = (step, place.evaluated or begin)
    expected = round(pace * (after[0] - step))
    excess = after[1] - begin - expected
    if excess <= MIN_EXCESS * expected:
        return
    reported = begin if place.evaluated is None else min(max(place.evaluated, begin), after[1])
    evaluating = min(excess, reported - begin)
    if evaluating > 0:
        yield Interval(Part.EVALUATING, reported - evaluating, reported)
    if place.saves and excess > evaluating:
        yield Interval(Part.SAVING, reported, min(after[1], reported + excess - evaluating))
