"""What is known of one attempt of a run: the times of some of its steps, and its pauses.

Of an attempt that has ended while its run goes on, it is written down (AttemptRecord) before the
next one deletes the points that it repeats. Of the current attempt it is read from the points: some
hundred lookups in their index, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings

from artifacts.models import Artifact
from core.database import current_time
from core.numbers import MIN_BIGINT
from core.times import EPOCH
from goodput import point_queries
from goodput.account import Interval
from goodput.models import AttemptRecord
from goodput.parts import Part
from goodput.pauses import Probe, median_pace, pauses, places
from metrics.goals import is_evaluation
from metrics.models import MetricSeries
from runs.models import Run
from runs.system_metrics import PREFIX

PROBES: Final = 32  # steps at which the pace is looked at
MAX_PLACES: Final = 250  # checkpoints, and evaluations, of an attempt that are looked at
MAX_SERIES: Final = 200  # of a run, those with the most points
MICROSECOND: Final = timedelta(microseconds=1)

Step = tuple[int, int]  # when (Unix time in microseconds), and which


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // MICROSECOND


def _optional(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one attempt. Times are Unix times in microseconds; None is not known.

    ``start_step``: the one that it was set back to; ``reported``: when it last reported anything;
    ``alive_until``: when its worker, which has died, was last heard of; ``evaluates``: whether all
    that it reports is of evaluations.
    """

    start_step: int | None = None
    started: int | None = None
    reported: int | None = None
    alive_until: int | None = None
    evaluates: bool = False
    steps: Sequence[Step] = ()
    pauses: Sequence[Interval] = ()


def record_attempt(*, run: Run, **_signal: Any) -> None:
    """Receiver of attempt_ending."""
    facts = facts_of(run, _reached_before(run))
    AttemptRecord.objects.update_or_create(
        run=run,
        number=run.attempt,
        defaults={
            "start_step": facts.start_step,
            "started_at": run.attempt_started_at,
            "reported_at": run.reported_at,
            "alive_until": _last_heartbeat_of_dead_worker(run),
            "evaluates": facts.evaluates,
            "steps": [list(step) for step in facts.steps],
            "pauses": [[pause.part, pause.begin, pause.end] for pause in facts.pauses],
        },
    )


def _last_heartbeat_of_dead_worker(run: Run) -> datetime | None:
    if run.worker is None:
        return None
    lease = timedelta(seconds=settings.WORKER_LEASE_SECONDS)
    heartbeat = run.worker.last_heartbeat
    return heartbeat if heartbeat < current_time() - lease else None


def facts_of_record(record: AttemptRecord) -> Facts:
    return Facts(
        start_step=record.start_step,
        started=_optional(record.started_at),
        reported=_optional(record.reported_at),
        alive_until=_optional(record.alive_until),
        evaluates=record.evaluates,
        steps=[(at, step) for at, step in record.steps],
        pauses=[Interval(Part(part), begin, end) for part, begin, end in record.pauses],
    )


def _reached_before(run: Run) -> int | None:
    """The last step of the attempts before the current one; None if they have reported none."""
    if run.attempt == 1:
        return None
    records = AttemptRecord.objects.filter(run=run, number__lt=run.attempt).order_by("-number")
    return next((steps[-1][1] for steps in records.values_list("steps", flat=True) if steps), None)


def facts_of(run: Run, reached_before: int | None, *, completed_at: int | None = None) -> Facts:
    """Of the current attempt of ``run``. ``reached_before``: the last step of earlier attempts.
    ``completed_at``: when the run has completed, in microseconds."""
    steps = _StepsOfAttempt.of(run, reached_before)
    paused = [] if steps.evaluates else steps.pauses(run, completed_at)
    return Facts(
        start_step=run.attempt_start_step,
        started=_optional(run.attempt_started_at),
        reported=_optional(run.reported_at),
        evaluates=steps.evaluates,
        steps=steps.steps,
        pauses=paused,
    )


@dataclass(frozen=True, slots=True)
class _Series:
    pk: int
    key: str
    count: int
    last_step: int


@dataclass(slots=True)
class _StepsOfAttempt:
    """The metric of the attempt that tells best when it was at which step, and what it tells."""

    clock: _Series | None = None
    evaluation: _Series | None = None  # one that is evaluated now and then
    evaluates: bool = False
    first: int = 0
    probes: dict[int, Probe] = field(default_factory=dict)  # by the step that was asked for
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, reached_before: int | None) -> _StepsOfAttempt:
        series = _series_of(run)
        trained = [one for one in series if not is_evaluation(one.key)]
        evaluated = [one for one in series if is_evaluation(one.key)]
        clock = _best(trained or evaluated, run.step)
        if clock is None:
            return cls()
        first = point_queries.first_point(clock.pk, after=_after(run, reached_before))
        if first is None:  # of this attempt there is nothing yet
            return cls()
        found = cls(
            clock, _best(evaluated, run.step) if trained else None, not trained, first=first[0]
        )
        found.look_at(_spread(first[0], clock.last_step))
        found.steps = sorted({(first[1] * 1000, first[0]), *found._seen()}, key=_by_step)
        return found

    def look_at(self, steps: Iterable[int]) -> None:
        """Look up the points around these steps."""
        assert self.clock is not None
        wanted = sorted({*steps} - self.probes.keys())
        rows = point_queries.points_around(self.clock.pk, wanted, first=self.first)
        for asked, step, ms, next_step, next_ms in rows:
            after = None if next_step is None or next_ms is None else (next_step, next_ms * 1000)
            self.probes[asked] = Probe((step, ms * 1000), after)

    def _seen(self) -> Iterable[Step]:
        return ((probe.before[1], probe.before[0]) for probe in self.probes.values())

    def pauses(self, run: Run, completed_at: int | None) -> list[Interval]:
        """Also adds the steps of checkpoints to those that are known."""
        if self.clock is None:
            return []
        pace = median_pace(self.probes.values())
        saved = _checkpoint_steps(run, self.first)
        evaluated = self._evaluations()
        self.look_at([*saved, *(step for step, _at in evaluated)])
        self.steps = sorted({*self.steps, *self._seen()}, key=_by_step)
        around = places(
            [self.probes[step] for step in saved if step in self.probes],
            [(self.probes[step], at) for step, at in evaluated if step in self.probes],
            end=completed_at,
        )
        return list(pauses(around, pace))

    def _evaluations(self) -> list[tuple[int, int]]:
        """The steps at which it was evaluated, and when that had been reported."""
        if self.evaluation is None:
            return []
        points = point_queries.newest_points(self.evaluation.pk, first=self.first, limit=MAX_PLACES)
        return [(step, ms * 1000) for step, ms in points]


def _by_step(step: Step) -> tuple[int, int]:
    return step[1], step[0]


def _series_of(run: Run) -> list[_Series]:
    """The run's metrics that have points, the host's left out: these have an axis of their own."""
    series = MetricSeries.objects.filter(run=run, count__gt=0, last_step__isnull=False)
    rows = series.exclude(key__startswith=PREFIX).order_by("-count", "key")
    columns = ("pk", "key", "count", "last_step")
    return [_Series(*row) for row in rows.values_list(*columns)[:MAX_SERIES]]


def _best(series: Sequence[_Series], step: int) -> _Series | None:
    """The one that is as far as the run, at ``step``, and has the most points."""
    near = [one for one in series if one.last_step <= step] or list(series)
    return max(near, key=lambda one: (one.last_step, one.count), default=None)


def _after(run: Run, reached_before: int | None) -> int:
    """The step after which the points are those of the current attempt."""
    if run.attempt_start_step is not None:
        start = run.attempt_start_step
    elif reached_before is not None:
        return reached_before
    else:
        start = run.start_step
    return start if start > 0 else MIN_BIGINT  # from scratch: also step 0


def _spread(first: int, last: int) -> set[int]:
    return {first + (last - first) * number // PROBES for number in range(PROBES + 1)}


def _checkpoint_steps(run: Run, first: int) -> list[int]:
    """From ``first`` on, the newest first; also of those that were removed since."""
    checkpoints = Artifact.every.checkpoints().filter(run=run, step__gte=first)
    steps = checkpoints.order_by("-step").values_list("step", flat=True).distinct()
    return [step for step in steps[:MAX_PLACES] if step is not None]
