"""How sweeps advance: what a worker does for them at each of its passes.

A pass over a sweep is one transaction that holds its row's lock: it tells Optuna what the runs have
reported and how they ended, asks for new trials, and creates their runs. A worker that is killed
leaves all of it or nothing, and two workers never advance the same sweep. Runs are stopped after
that, as their trials' rows say (``is_stopping``), until each has been asked to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now

from core.database_errors import problem_of
from core.exceptions import DomainError, InvalidInput
from core.messages import Message, Text, words_of
from core.text import storable
from metrics.models import MetricSeries
from runs.actions import cancel_run, create_run
from runs.code import CodeRequest
from runs.interruptions import pruning
from runs.models import Run
from runs.status import TERMINAL, InvalidTransition, RunStatus
from sweeps.models import Goal, Sweep, SweepStatus, SweepTrial, TrialState, ValueOf
from sweeps.rung_queries import reports

if TYPE_CHECKING:
    from sweeps.studies import Study

logger = logging.getLogger(__name__)

TRIALS_PER_PASS: Final = 10  # new ones: creating a run locks its project
RETRY_SECONDS: Final = 30.0  # after an error of a sweep
MAX_FAILURES: Final = 5  # in a row, before a sweep is paused


class SweepDriver:
    """What a worker does for all sweeps at each of its passes."""

    def __init__(self) -> None:
        self._retry_at: dict[str, float] = {}  # sweep -> monotonic seconds

    def work(self) -> None:
        """Advance every sweep that can be. An error of one is told on it, and pauses only it."""
        now = time.monotonic()
        for pk in _to_advance():
            if self._retry_at.get(pk, now) > now:
                continue
            try:
                advance(pk)
                self._retry_at.pop(pk, None)
            except Exception as error:
                if problem_of(error) is not None:  # of the database: tried again
                    raise
                self._retry_at[pk] = now + RETRY_SECONDS
                _pause(pk, error)
        _stop_runs()


def _to_advance() -> list[str]:
    """The sweeps of which something has changed, by one query."""
    trials = SweepTrial.objects.filter(sweep=OuterRef("pk"), state=TrialState.RUNNING)
    reported = MetricSeries.objects.filter(
        run=OuterRef("run"),
        key=OuterRef("sweep__metric"),
        last_step__gte=OuterRef("next_step"),
    )
    is_over = Q(run=None) | Q(run__status__in=TERMINAL)
    changed = trials.filter(is_over | Q(Exists(reported), next_step__isnull=False))
    counted = trials.order_by().values("sweep").annotate(n=Count("*")).values("n")
    is_running = Q(status=SweepStatus.RUNNING)
    has_room = Q(open__lt=F("max_parallel"), trial_count__lt=F("max_trials"))
    sweeps = Sweep.objects.filter(is_running | Exists(trials))
    sweeps = sweeps.annotate(open=Coalesce(Subquery(counted), 0))
    found = sweeps.filter(Exists(changed) | (is_running & (has_room | Q(open=0))))
    return list(found.order_by("id").values_list("pk", flat=True))


def advance(pk: str) -> bool:
    """One pass over a sweep; return whether there was one: not if another worker has locked it.

    Raises DomainError, for example if its project is archived.
    """
    with transaction.atomic():
        locked = Sweep.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
        sweep = locked.select_related("recipe", "project", "created_by").filter(pk=pk).first()
        if sweep is None:
            return False
        Pass(sweep).work()
    return True


class Pass:
    """A pass over one sweep, whose row is locked."""

    def __init__(self, sweep: Sweep) -> None:
        from sweeps.studies import Study  # imports Optuna

        self._sweep = sweep
        self._trials = list(sweep.trials.select_related("run").order_by("number"))
        self._study: Study = Study(sweep, self._trials)

    def work(self) -> None:
        """Raises DomainError."""
        self._report()
        for trial in self._open():
            if trial.run is None or trial.run.is_terminal:
                self._end(trial, trial.run)
        if self._sweep.status == SweepStatus.RUNNING and not self._has_failed_too_often():
            self._ask()
        self._study.storage.save()
        self._sweep.trial_count = len(self._trials)
        self._finish_if_done()
        self._sweep.save(
            update_fields=["trial_count", "status", "status_reason", "finished_at", "updated_at"]
        )

    def _open(self) -> list[SweepTrial]:
        return [trial for trial in self._trials if trial.state == TrialState.RUNNING]

    # --- what the runs have reported ---------------------------------------------------------

    def _report(self) -> None:
        """Report what the open trials have reached, rung by rung, in the order of time."""
        by_number = {trial.number: trial for trial in self._open()}
        while found := reports(self._sweep.metric, self._open()):
            for number, step, value, _at in found:
                trial = by_number[number]
                is_bad = self._study.report(trial, step, value)
                if is_bad and trial.run is not None and not trial.run.is_terminal:
                    self._study.prune(trial)
                    trial.is_stopping = True

    def _end(self, trial: SweepTrial, run: Run | None) -> None:
        value = None
        if run is not None and run.status == RunStatus.COMPLETED:
            value = self._value_of(run)
        if value is None:
            self._study.fail(trial)
        else:
            self._study.complete(trial, value)
        trial.is_stopping = False

    def _value_of(self, run: Run) -> float | None:
        """What a completed run counts with; None if it reported no number."""
        series = MetricSeries.objects.filter(run=run, key=self._sweep.metric).first()
        if series is None:
            return None
        if self._sweep.value_of == ValueOf.BEST:
            return series.minimum if self._sweep.goal == Goal.MINIMIZE else series.maximum
        value = series.last_value
        return None if value is None or value != value else value

    # --- new trials --------------------------------------------------------------------------

    def _ask(self) -> None:
        sweep = self._sweep
        room = min(sweep.max_parallel - len(self._open()), sweep.max_trials - len(self._trials))
        for _number in range(min(room, TRIALS_PER_PASS)):
            if not sweep.recipe.enabled:
                raise InvalidInput(
                    Message("The recipe %(name)s is turned off.", name=sweep.recipe_id)
                )
            trial = self._study.ask()
            trial.run = self._create_run(trial)
            self._trials.append(trial)

    def _create_run(self, trial: SweepTrial) -> Run:
        sweep = self._sweep
        configuration = dict(sweep.configuration)
        if "code" in configuration:
            configuration["code"] = CodeRequest(**configuration["code"])
        fixed = configuration.pop("hyperparameters", {})
        return create_run(
            sweep.project,
            by=sweep.created_by,
            name=f"{sweep.name}-{trial.number:03d}",
            recipe=sweep.recipe,
            hyperparameters={**fixed, **trial.params},
            **configuration,
        )

    # --- the end -----------------------------------------------------------------------------

    def _has_failed_too_often(self) -> bool:
        """Pause a sweep of which the last runs have all failed: the next ones would, too."""
        last = self._last_ended()
        if len(last) < MAX_FAILURES or not all(map(_has_failed, last)):
            return False
        name = "" if last[-1].run is None else last[-1].run.name
        self._sweep.status = SweepStatus.PAUSED
        self._sweep.status_reason = Message(
            "%(n)d runs in a row have failed, the last one is %(run)s. Continue the sweep once "
            "they can succeed.",
            n=MAX_FAILURES,
            run=name,
        )
        return True

    def _last_ended(self) -> Sequence[SweepTrial]:
        since = self._sweep.continued_at
        ended = [
            trial
            for trial in self._trials
            if trial.ended_at is not None and (since is None or trial.ended_at > since)
        ]
        return sorted(ended, key=lambda trial: (trial.ended_at, trial.number))[-MAX_FAILURES:]

    def _finish_if_done(self) -> None:
        sweep = self._sweep
        is_last = sweep.trial_count >= sweep.max_trials and not self._open()
        if sweep.status == SweepStatus.RUNNING and is_last:
            sweep.status = SweepStatus.COMPLETED
            sweep.finished_at = Now()


def _has_failed(trial: SweepTrial) -> bool:
    """Not if somebody has cancelled it."""
    return trial.state == TrialState.FAILED and (
        trial.run is None or trial.run.status != RunStatus.CANCELLED
    )


def _pause(pk: str, error: Exception) -> None:
    is_known = isinstance(error, DomainError)
    reason: Text = words_of(error) if is_known else storable(f"{type(error).__name__}: {error}")
    level = logging.WARNING if is_known else logging.ERROR
    logger.log(level, "sweep %s is paused: %s", pk, reason, exc_info=not is_known)
    with transaction.atomic():
        running = Sweep.objects.filter(pk=pk, status=SweepStatus.RUNNING)
        for sweep in running.select_for_update(no_key=True):
            sweep.status = SweepStatus.PAUSED
            sweep.status_reason = reason
            sweep.save(update_fields=["status", "status_reason", "updated_at"])


# --- runs that are to stop -------------------------------------------------------------------


def _stop_runs() -> None:
    """Ask the runs of pruned trials, and of cancelled sweeps, to stop with a checkpoint."""
    stopping = SweepTrial.objects.filter(is_stopping=True, run__isnull=False)
    for trial in stopping.select_related("run", "sweep__cancelled_by").order_by("id"):
        assert trial.run is not None
        is_pruned = trial.state == TrialState.PRUNED
        try:
            cancel_run(
                trial.run,
                by=None if is_pruned else trial.sweep.cancelled_by,
                wait_seconds=0,
                reason=_reason(trial) if is_pruned else "",
            )
        except InvalidTransition:
            logger.info("run %s ended before it was stopped", trial.run_id)
        except Exception as error:  # of the storage, for one: the others are stopped all the same
            if problem_of(error) is not None:
                raise
            logger.exception("run %s could not be asked to stop", trial.run_id)
            continue
        SweepTrial.objects.filter(pk=trial.pk).update(is_stopping=False)


def _reason(trial: SweepTrial) -> Message:
    step = trial.intermediate[-1][0] if trial.intermediate else 0
    return pruning(trial.sweep_id, step)
