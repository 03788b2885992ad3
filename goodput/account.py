"""Where the time of a run went: an exact partition of its life, as a pure function.

``account`` takes what is known of a run, in the order in which it happened, and returns intervals
that follow each other without gap or overlap from its beginning to its end (or to now). So the
parts sum to the wall time in whole microseconds, for any history, however incomplete, and whatever
the clocks: a time before that of the mark before it counts as the same moment.

The parts:

- waiting: in the queue, or paused: from queued (or paused) until a worker claims the run. Nothing
  of it is held.
- starting: from a claim until the first step that the attempt reports: preparing, loading data and
  weights, compiling, and the first step itself. An attempt that ends before its first step was
  starting all the time.
- training: from there on, as far as it was kept.
- repeated: training whose result is gone. When an attempt begins from the checkpoint of step C, all
  training of earlier attempts after they had reached C is repeated or was in vain. Of a run that
  has failed or was cancelled, the same holds for what its last whole checkpoint does not contain.
- saving and evaluating: pauses of the training (goodput/pauses.py); evaluating is also the whole of
  an attempt that reports metrics of evaluations alone.
- stalled: from the last sign of progress until the stop that a stall leads to, and a silence that
  lasts until the end of an attempt, or until now, if it is longer than SILENT_SECONDS.
- stopping: from the request to stop, of a user or because of a stall, until the work has ended.
- down: from the end of an attempt until the next claim; if its worker died, from the worker's last
  heartbeat. Also from the end of a run until it is reopened.

Training in progress counts as kept until an attempt begins before it.

Goodput is the share of the wall time that is training: the "productivity" of Google's ML
Productivity Goodput (https://cloud.google.com/blog/products/ai-machine-learning/goodput-metric-as-measure-of-ml-productivity),
the ETTR of Meta's "Revisiting Reliability in Large-Scale Machine Learning Research Clusters"
(Kokolis et al., arXiv:2410.21680). What others call overhead is the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum, auto
from typing import Final

from core.times import EPOCH
from goodput.parts import Part

DAY: Final = 86_400_000_000  # microseconds
NOTHING: Final = -(2**63)  # as the last step that was kept


class MarkKind(Enum):
    WAITS = auto()  # queued, or paused
    CLAIMED = auto()  # a worker, or a script elsewhere, has begun to work on it
    STEP = auto()  # the training has reached ``step`` (None: it is at work, but tells no steps)
    EVALUATES = auto()  # an evaluation has begun to report
    STALLED = auto()  # since then it has not advanced
    STOP = auto()  # it was asked to stop
    LEFT = auto()  # the attempt has ended, the run has not; or the run has ended
    RESTARTED = auto()  # an attempt begins after ``step``: later training counts no more


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a run. ``at``: Unix time in microseconds."""

    at: int
    kind: MarkKind
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    part: Part
    begin: int  # Unix time in microseconds
    end: int

    @property
    def microseconds(self) -> int:
        return self.end - self.begin


@dataclass(slots=True)
class _Span:
    part: Part
    begin: int
    end: int
    steps: list[tuple[int, int]] = field(default_factory=list)  # (when, step), while training

    def cut(self, after: int) -> Iterator[_Span]:
        """What is kept of training if only the steps up to ``after`` count, and what is not."""
        at = self._reached(after)
        kept = [(when, step) for when, step in self.steps if when <= at]
        if at > self.begin:
            yield _Span(Part.TRAINING, self.begin, at, kept)
        if at < self.end:
            yield _Span(Part.REPEATED, at, self.end)

    def _reached(self, step: int) -> int:
        """When it had reached ``step``: between two known steps at a constant pace."""
        before: tuple[int, int] | None = None
        for at, known in self.steps:
            if known > step:
                return self.begin if before is None else _between(before, (at, known), step)
            before = (at, known)
        if before is None:
            return self.begin
        return before[0] if before[1] == step else self.end


def _between(before: tuple[int, int], after: tuple[int, int], step: int) -> int:
    share = (after[0] - before[0]) * (step - before[1]) // max(1, after[1] - before[1])
    return min(after[0], before[0] + max(0, share))


# The part that follows a mark; a mark that is not here, or a part that may not follow, leaves it.
_NEXT: Final = {
    MarkKind.WAITS: Part.WAITING,
    MarkKind.CLAIMED: Part.STARTING,
    MarkKind.STALLED: Part.STALLED,
    MarkKind.STOP: Part.STOPPING,
    MarkKind.LEFT: Part.DOWN,
}
_IDLE: Final = frozenset({Part.WAITING, Part.DOWN})


class _Walk:
    """Through the marks of a run, in order."""

    def __init__(self, began: int) -> None:
        self.spans: list[_Span] = []
        self._open = _Span(Part.WAITING, began, began)

    def pass_by(self, mark: Mark, until: int) -> None:
        at = min(max(mark.at, self._open.end), until)
        self._open.end = at
        if mark.kind in {MarkKind.STEP, MarkKind.EVALUATES}:
            self._advance(mark, at)
        elif mark.kind is MarkKind.RESTARTED:
            self._turn(self._open.part, at)
            self.keep_steps(NOTHING if mark.step is None else mark.step)
        elif not (mark.kind in {MarkKind.STALLED, MarkKind.STOP} and self._open.part in _IDLE):
            self._turn(_NEXT[mark.kind], at)

    def _advance(self, mark: Mark, at: int) -> None:
        part = Part.TRAINING if mark.kind is MarkKind.STEP else Part.EVALUATING
        # What is reported while it waits, or is about to stop, changes nothing.
        if self._open.part in {Part.STARTING, Part.STALLED}:
            self._turn(part, at)
        if self._open.part is Part.TRAINING and mark.step is not None:
            self._open.steps.append((at, mark.step))

    def _turn(self, part: Part, at: int) -> None:
        if self._open.end > self._open.begin:
            self.spans.append(self._open)
        self._open = _Span(part, at, at)

    def close(self, until: int) -> None:
        self._open.end = until
        self._turn(self._open.part, until)

    def keep_steps(self, last: int) -> None:
        """Only training up to the step ``last`` has been kept."""
        spans, self.spans = self.spans, []
        for span in spans:
            self.spans += span.cut(last) if span.part is Part.TRAINING else [span]


def account(
    marks: Iterable[Mark],
    *,
    began: int,
    until: int,
    pauses: Sequence[Interval] = (),
    kept: int | None = None,
) -> list[Interval]:
    """The parts of the time from ``began`` to ``until``, which are Unix times in microseconds.

    ``pauses``: of the training, while it saved or evaluated. ``kept``: the last step whose result
    was kept, of a run that has not completed; None: all of them.
    """
    until = max(began, until)
    walk = _Walk(began)
    for mark in marks:
        walk.pass_by(mark, until)
    walk.close(until)
    if kept is not None:
        walk.keep_steps(kept)
    return list(_merged(_with_pauses(walk.spans, pauses)))


def _with_pauses(spans: Iterable[_Span], pauses: Sequence[Interval]) -> Iterator[Interval]:
    """The spans, with the pauses cut out of training."""
    waiting = sorted(pauses, key=lambda pause: (pause.begin, pause.end))
    for span in spans:
        at = span.begin
        if span.part in {Part.TRAINING, Part.REPEATED}:
            for pause in waiting:
                begin, end = max(pause.begin, at), min(pause.end, span.end)
                if begin < end:
                    yield Interval(span.part, at, begin)
                    yield Interval(pause.part, begin, end)
                    at = end
        yield Interval(span.part, at, span.end)


def _merged(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Without empty ones; neighbors of one part are one."""
    last: Interval | None = None
    for interval in intervals:
        if interval.begin == interval.end:
            continue
        if last is not None and last.part == interval.part:
            last = Interval(last.part, last.begin, interval.end)
            continue
        if last is not None:
            yield last
        last = interval
    if last is not None:
        yield last


Sums = dict[Part, int]  # microseconds


def sums(intervals: Iterable[Interval]) -> Sums:
    total = dict.fromkeys(Part, 0)
    for interval in intervals:
        total[interval.part] += interval.microseconds
    return total


def by_day(intervals: Iterable[Interval]) -> dict[date, Sums]:
    """The same for each day, in UTC, on which there was something."""
    days: dict[date, Sums] = {}
    for interval in intervals:
        at = interval.begin
        while at < interval.end:
            number = at // DAY
            end = min(interval.end, (number + 1) * DAY)
            day = (EPOCH + timedelta(days=number)).date()
            days.setdefault(day, dict.fromkeys(Part, 0))[interval.part] += end - at
            at = end
    return days
