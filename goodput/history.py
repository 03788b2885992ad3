"""From the events of a run, and what is known of its attempts, to the marks of its account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.messages import Text
from goodput.account import Mark, MarkKind
from goodput.attempts import Facts
from runs.interruptions import is_preemption, is_pruning
from runs.models import EventKind, StopKind
from runs.models.event import ARRIVALS
from runs.status import TERMINAL, RunStatus


@dataclass(frozen=True, slots=True)
class Event:
    """What an account needs of a RunEvent. ``at``: Unix time in microseconds."""

    at: int
    kind: str
    to_status: str
    attempt: int
    is_wanted: bool = False  # of a request to stop: not because of a stall


@dataclass(slots=True)
class History:
    """Puts the events of a run and the steps of its attempts into one order.

    Events are in the order in which they were written; a step goes between them by its time, and
    not beyond the end of its attempt: clocks may differ.
    """

    facts: Mapping[int, Facts]  # of each attempt
    is_unmanaged: bool
    is_completed: bool
    silent_us: int  # how long a silence is a stall
    _attempt: int = 1
    _next_step: int = 0  # of the current attempt
    _claimed: int = 0
    _last_at: int | None = None  # when the last step so far was
    _is_stopping: bool = False
    _marks: list[Mark] = field(default_factory=list)

    def marks(self, events: Iterable[Event], *, began: int, until: int) -> list[Mark]:
        if self.is_unmanaged:  # its script had started before it said so
            self._mark(began, MarkKind.CLAIMED)
        told = list(events)
        for place, event in enumerate(told):
            self._pass_steps(event.at)
            if event.kind == EventKind.RELEASED:
                self._release(event, told[place + 1 :])
            else:
                self._pass(event)
        if self._is_held():
            if self.is_completed:
                self._work_without_steps()
            self._end_attempt(until)
        return self._marks

    def _is_held(self) -> bool:
        last = next(
            (mark.kind for mark in reversed(self._marks) if mark.kind is not MarkKind.RESTARTED),
            MarkKind.WAITS,
        )
        return last not in {MarkKind.WAITS, MarkKind.LEFT}

    def _pass(self, event: Event) -> None:
        if event.to_status in TERMINAL:
            if self.is_completed:
                self._work_without_steps()
            self._leave(event.at, MarkKind.LEFT)
        elif event.kind in ARRIVALS:
            self._begin(event)
        elif event.kind == EventKind.RECOVERED:
            self._leave(self._alive_at(event.at), MarkKind.LEFT)
        elif event.kind == EventKind.STOP_REQUESTED:
            self._stop(event)
        elif self.is_unmanaged and event.to_status == RunStatus.RUNNING:
            if event.kind != EventKind.CREATED:
                self._begin(event)
        elif event.to_status and event.to_status != RunStatus.RUNNING:
            self._leave(event.at, MarkKind.WAITS)  # queued, or paused

    def _release(self, event: Event, following: Sequence[Event]) -> None:
        """Work that is rows alone goes on with the same attempt."""
        claims = (later.attempt for later in following if later.kind in ARRIVALS)
        if next(claims, None) == self._attempt:
            self._mark(event.at, MarkKind.LEFT)
        else:
            self._leave(event.at, MarkKind.LEFT)

    def _begin(self, event: Event) -> None:
        self._mark(event.at, MarkKind.CLAIMED)
        self._claimed, self._is_stopping = event.at, False
        if event.attempt == self._attempt:
            return
        self._attempt, self._next_step, self._last_at = event.attempt, 0, None
        start = self._current.start_step
        if start is not None:
            self._mark(event.at, MarkKind.RESTARTED, start)

    @property
    def _current(self) -> Facts:
        return self.facts.get(self._attempt, Facts())

    def _pass_steps(self, until: int) -> None:
        """Mark the steps of the current attempt up to this time."""
        if not self._is_held():
            return
        steps: Sequence[tuple[int, int]] = self._current.steps
        while self._next_step < len(steps) and steps[self._next_step][0] <= until:
            self._step(*steps[self._next_step])
            self._next_step += 1

    def _step(self, at: int, step: int | None) -> None:
        evaluates = self._current.evaluates
        self._mark(at, MarkKind.EVALUATES if evaluates else MarkKind.STEP, step)
        self._last_at = at

    def _work_without_steps(self) -> None:
        """A training that has completed was at work, also if it has told no step."""
        if self._last_at is None and not self._current.steps and self._is_held():
            self._step(self._current.started or self._claimed, None)

    def _leave(self, at: int, kind: MarkKind) -> None:
        if self._is_held():
            self._end_attempt(at)
        self._mark(at, kind)

    def _end_attempt(self, at: int) -> None:
        """The steps that its own clock puts later count as its last moment."""
        self._pass_steps(at)
        for _when, step in self._current.steps[self._next_step :]:
            self._step(at, step)
        self._next_step = len(self._current.steps)
        if not self._is_stopping:
            self._fall_silent(at)

    def _fall_silent(self, at: int) -> None:
        reported = self._current.reported
        if self._last_at is None or reported is None:
            return
        since = max(self._last_at, reported)
        if at - since > self.silent_us:
            self._mark(since, MarkKind.STALLED)

    def _stop(self, event: Event) -> None:
        if not self._is_held():
            return
        if event.is_wanted:
            self._fall_silent(event.at)
        else:
            self._mark(self._last_at or self._current.started or self._claimed, MarkKind.STALLED)
        self._mark(event.at, MarkKind.STOP)
        self._is_stopping = True

    def _alive_at(self, at: int) -> int:
        alive_until = self._current.alive_until
        return at if alive_until is None else min(at, alive_until)

    def _mark(self, at: int, kind: MarkKind, step: int | None = None) -> None:
        self._marks.append(Mark(at, kind, step))


def is_wanted(reason: Text) -> bool:
    """Whether a request to stop with this reason is somebody's, a sweep's, or for another run, and
    not because of a stall."""
    if isinstance(reason, str):
        return reason in {StopKind.CANCEL, StopKind.PAUSE}
    return is_preemption(reason) or is_pruning(reason)
