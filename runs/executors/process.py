"""A command on the worker's host.

The training-script contract: a script prints (log lines), appends flat JSON objects to
``$TRAINHUB_METRICS_FILE`` (metrics), writes whole files or folders into
``$TRAINHUB_CHECKPOINT_DIR`` and its results into ``$TRAINHUB_OUTPUT_DIR/evaluation.json``, starts
from ``$TRAINHUB_RESUME_FROM`` when that is set, and on SIGTERM saves and exits.

Each attempt has a directory, ``<data>/runs/<run>/attempt-<n>``, and a launcher (launcher.py) that
outlives the worker; attempt.py asks them how the work stands. What has been taken in of their files
is in the run's ``executor_state``, committed together with what was taken in: nothing twice,
nothing passed over. Large bytes are copied first, without the run's lock.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.open_mode import is_open
from accounts.tokens import issue_token, revoke_tokens
from runs import ingestion
from runs.executors import attempt as attempts
from runs.executors.attempt import SIGNALLED_CODES, Attempt, Ending
from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.executors.checkpoint_files import CheckpointFile, Damaged, fetch, settled
from runs.executors.output import last_written, log_lines, metric_report, read_whole_lines
from runs.ingestion import Line, TooManyMetrics
from runs.models import EventKind, LogLevel, Run, Worker
from runs.outputs import (
    configuration_bytes,
    events_due,
    point_count,
    put_events,
    store_configuration,
)

if TYPE_CHECKING:
    from artifacts.models import Artifact, StoredFile

logger = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(days=90)  # of a script's token, should nobody be there to revoke it


class ProcessExecutor(Executor):
    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return hyperparameters.get("max_steps")

    # --- start -------------------------------------------------------------------------------

    def start(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            attempt.launch()
            return
        command = command_of(run)
        self._end_earlier_attempts(run, worker)
        draft = attempt.directory.with_name(f".{attempt.directory.name}")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "checkpoints").mkdir(parents=True)
        (draft / "config.json").write_bytes(configuration_bytes(run))
        source = source_of(run, draft / "resume")
        self._go_back(run, worker, source)
        environment = environment_of(run, attempt) | self._token(run, worker)
        if source.path is not None:
            inside = source.path.relative_to(draft)
            environment["TRAINHUB_RESUME_FROM"] = str(attempt.directory / inside)
        attempt.make(draft, command, environment)
        attempt.launch()

    def _token(self, run: Run, worker: Worker) -> dict[str, str]:
        """What lets the script report to TrainHub as whoever made the run, where that needs a
        token. It is worth nothing once the run is over."""
        if is_open() or run.created_by is None:
            return {}
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            revoke_tokens(locked.script_tokens)
            token, digest = issue_token(run.created_by, life=TOKEN_LIFE)
            locked.change(script_tokens=[digest])
        return {"MLFLOW_TRACKING_TOKEN": token}

    def _end_earlier_attempts(self, run: Run, worker: Worker) -> None:
        """An attempt of a worker that died may still train here: end it, and take in its rest."""
        for attempt in Attempt.earlier_than(run):
            attempt.kill()
            ending = attempt.ending()
            if ending is not None:  # None: cannot be killed; what it still writes is not ours
                self._take_in(run, worker, attempt, ending)
            shutil.rmtree(attempt.directory, ignore_errors=True)

    def _go_back(self, run: Run, worker: Worker, source: Source) -> None:
        """Take the run back to the step it starts from, if it was further."""
        events = None if "event_points" in run.executor_state else put_events(run)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if events is not None:
                store_configuration(locked)
                locked.artifacts.record_events(locked, events)
                locked.change(executor_state={**locked.executor_state, "event_points": 0})
            ingestion.append_log(
                locked, [Line(text, LogLevel.WARNING, "trainhub") for text in source.passed_over]
            )
            if locked.step > source.step:
                was_at = locked.step
                points = ingestion.rewind(locked, source.step)
                reason = _("Back from step %(from)d to %(to)d; %(points)d points taken back.")
                locked.note(
                    EventKind.REWOUND,
                    worker=worker,
                    reason=reason % {"from": was_at, "to": source.step, "points": points},
                )

    # --- poll --------------------------------------------------------------------------------

    def poll(self, run: Run, worker: Worker) -> Observation:
        attempt = Attempt.of(run)
        if not attempt.is_launched:
            if _notes(run, attempt):
                # It ran where this worker was before, and whatever it left is there.
                return Observation(Work.DIED, reason=_("The files of the attempt are gone."))
            return Observation(Work.ABSENT)
        ending = attempt.ending()
        self._take_in(run, worker, attempt, ending)
        if ending is None:
            return Observation(Work.WORKING)
        return self._judge(run, attempt, ending)

    def _take_in(self, run: Run, worker: Worker, attempt: Attempt, ending: Ending | None) -> None:
        """Read what there is to read; of an attempt that has ended, all of it."""
        ended = ending is not None
        # Listed first: what was reported before a checkpoint was saved is taken in before it too.
        fresh = self._fresh_checkpoints(run, attempt, ending)
        at_end = self._take_in_text(run, worker, attempt, ended=ended)
        while not at_end and (ended or fresh):
            at_end = self._take_in_text(run, worker, attempt, ended=ended)
        for checkpoint in fresh:
            self._take_in_checkpoint(run, worker, attempt, checkpoint)
        if fresh or ended:
            self._take_in_events(run, worker, at_end=ended)

    def _fresh_checkpoints(
        self, run: Run, attempt: Attempt, ending: Ending | None
    ) -> list[CheckpointFile]:
        """Those that are new, or have changed since they were taken in."""
        known = _notes(Run.objects.get(pk=run.pk), attempt).get("checkpoints", {})
        found = settled(attempt.directory / "checkpoints", ending)
        return [item for item in found if known.get(item.path.name) != item.stamp]

    def _take_in_text(self, run: Run, worker: Worker, attempt: Attempt, *, ended: bool) -> bool:
        """One transaction's worth of output; True if the end of each file was seen."""
        directory = attempt.directory
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            before = _notes(locked, attempt)
            notes = dict(before)
            lines: list[Line] = []
            at_end = True
            for source in ("stdout", "stderr"):
                path = directory / f"{source}.log"
                timestamp = last_written(path)
                reading = read_whole_lines(path, before.get(source, 0), ended=ended)
                lines += log_lines(reading.lines, source, timestamp)
                notes[source] = reading.offset
                at_end = at_end and reading.at_end
            path = directory / "metrics.jsonl"
            reading = read_whole_lines(path, before.get("metrics", 0), ended=ended)
            lines += self._take_in_metrics(locked, reading.lines)
            notes["metrics"] = reading.offset
            ingestion.append_log(locked, lines)
            self._take_in_evaluation(locked, directory, notes)
            if notes != before:
                _write_notes(locked, attempt, notes)
        return at_end and reading.at_end

    def _take_in_metrics(self, run: Run, raw: list[bytes]) -> list[Line]:
        """Store what the lines say; what is wrong with some of them, as lines of the log."""
        report = metric_report(raw)
        try:
            ingestion.record_metrics(run, report.points)
        except TooManyMetrics as error:  # said in the log; the training goes on
            report.problems.append(f"metrics.jsonl: {error.message}")
        if report.step is not None:
            total = report.total_steps or run.total_steps
            ingestion.report_progress(run, step=max(0, report.step), total_steps=total)
        return [Line(problem, LogLevel.WARNING, "metrics") for problem in report.problems]

    def _take_in_evaluation(self, run: Run, directory: Path, notes: dict[str, Any]) -> None:
        path = directory / "evaluation.json"
        try:
            stamp = path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if notes.get("evaluation") != stamp:
            with path.open("rb") as content:
                run.artifacts.store_evaluation(run, content, step=run.step)
            notes["evaluation"] = stamp

    def _take_in_checkpoint(
        self, run: Run, worker: Worker, attempt: Attempt, checkpoint: CheckpointFile
    ) -> None:
        """Make it an artifact: the bytes first, then, with the run locked, the row and the note."""
        step = checkpoint.step
        if step is None:
            step = Run.objects.values_list("step", flat=True).get(pk=run.pk)
        try:
            stored = _copy(run, attempt, checkpoint, step)
        except FileNotFoundError:
            return  # pruned by the training meanwhile
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            locked.artifacts.record_checkpoint(locked, stored, step=step)
            if step > locked.step:  # a stop saves at a step that no metric was reported for
                ingestion.report_progress(locked, step=step, total_steps=locked.total_steps)
            notes = _notes(locked, attempt)
            known = {**notes.get("checkpoints", {}), checkpoint.path.name: checkpoint.stamp}
            _write_notes(locked, attempt, {**notes, "checkpoints": known})

    def _take_in_events(self, run: Run, worker: Worker, *, at_end: bool) -> None:
        current = Run.objects.get(pk=run.pk)
        points = point_count(current)
        written = current.executor_state.get("event_points")
        if points == written or not (at_end or events_due(current)):
            return
        stored = put_events(current)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            locked.artifacts.record_events(locked, stored)
            locked.change(executor_state={**locked.executor_state, "event_points": points})

    def _judge(self, run: Run, attempt: Attempt, ending: Ending) -> Observation:
        """What the exit code means, given what was asked of the process."""
        code = ending.returncode
        asked = run.stop_requested_at is not None or attempt.was_told_to_stop
        if code == 0:
            # A script that was asked to stop may well exit with 0: was it done, or did it obey?
            done = not asked or _is_done(Run.objects.get(pk=run.pk))
            return Observation(Work.FINISHED if done else Work.STOPPED, exit_code=0)
        if asked:
            return Observation(Work.STOPPED, exit_code=code)
        if code is None:
            reason = _("The training process is gone without a trace.")
            return Observation(Work.DIED, reason=reason)
        if code < 0:
            reason = _("The training process was killed by %(signal)s.") % {
                "signal": _signal_name(-code)
            }
            return Observation(Work.DIED, reason=reason, exit_code=code)
        reason = _("The training process exited with code %(code)d.") % {"code": code}
        work = Work.DIED if code in SIGNALLED_CODES else Work.FAILED
        return Observation(work, reason=reason, exit_code=code)

    # --- stop --------------------------------------------------------------------------------

    def stop(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            attempt.terminate()
        else:
            self._end_earlier_attempts(run, worker)

    def kill(self, run: Run, worker: Worker) -> None:
        Attempt.of(run).kill()

    def forget(self, run: Run) -> None:
        attempts.forget(run.pk)

    def tidy(self) -> None:
        here = attempts.local_runs()
        known = Run.objects.only("status", "attempt").in_bulk(list(here))
        for run_id, its_attempts in here.items():
            run = known.get(run_id)
            if run is None:
                continue  # another database's, with this data directory: not ours to end
            if run.is_terminal:
                logger.info("freeing what was left of run %s", run_id)
                attempts.forget(run_id)
                continue
            for attempt in its_attempts:
                # It goes on elsewhere. The files stay, should it come back.
                if attempt.number < run.attempt and attempt.ending() is None:
                    logger.warning("ending attempt %d of run %s", attempt.number, run_id)
                    attempt.kill()


# --- what is passed to a process, and what is noted of it -------------------------------------


@dataclass(frozen=True)
class Source:
    """What an attempt starts from; ``path`` is None for nothing."""

    step: int
    path: Path | None
    passed_over: list[str]  # for the run's log: checkpoints that could not be used, and why


def source_of(run: Run, folder: Path) -> Source:
    """The latest of the run's checkpoints that is sound, else the one it was resumed from,
    fetched into ``folder``.

    Raises CannotStart if that one is damaged: to begin from nothing is not what was asked.
    """
    passed_over: list[str] = []
    for checkpoint in run.checkpoints():
        try:
            return Source(checkpoint.step or 0, fetch(checkpoint, folder), passed_over)
        except Damaged as problem:
            passed_over.append(_damage(checkpoint, problem))
    if run.resumed_from is None:
        return Source(0, None, passed_over)
    try:
        return Source(run.start_step, fetch(run.resumed_from, folder), passed_over)
    except Damaged as problem:
        raise CannotStart(_damage(run.resumed_from, problem)) from None


def _damage(checkpoint: Artifact, problem: Damaged) -> str:
    return _("The checkpoint %(id)s is damaged: %(problem)s.") % {
        "id": checkpoint.pk,
        "problem": problem,
    }


def command_of(run: Run) -> list[str]:
    """The recipe's command with {python} and {repository} filled in. Raises CannotStart."""
    values = {"{python}": sys.executable, "{repository}": str(settings.BASE_DIR)}
    command = []
    assert run.recipe is not None
    for part in run.recipe.command:
        for placeholder, value in values.items():
            part = part.replace(placeholder, value)
        command.append(part)
    if not command:
        raise CannotStart(_("The recipe has no command."))
    return command


def environment_of(run: Run, attempt: Attempt) -> dict[str, str]:
    assert run.recipe is not None
    directory = attempt.directory
    ours = {
        "PYTHONUNBUFFERED": "1",  # so that what it prints is seen when it prints it
        "TRAINHUB_RUN_ID": run.pk,
        "TRAINHUB_PROJECT_ID": run.project_id,
        "TRAINHUB_ATTEMPT": str(attempt.number),
        "TRAINHUB_URL": settings.PUBLIC_URL,
        "TRAINHUB_CONFIG": str(directory / "config.json"),
        "TRAINHUB_OUTPUT_DIR": str(directory),
        "TRAINHUB_METRICS_FILE": str(directory / "metrics.jsonl"),
        "TRAINHUB_CHECKPOINT_DIR": str(directory / "checkpoints"),
    }
    # What MLflow's clients read: the script reports to its own run, without saying which; unless
    # its recipe has it report elsewhere.
    mlflow = {"MLFLOW_TRACKING_URI": settings.PUBLIC_URL, "MLFLOW_RUN_ID": run.pk}
    return {**attempts.inherited_environment(), **mlflow, **run.recipe.environment, **ours}


def _notes(run: Run, attempt: Attempt) -> dict[str, Any]:
    """How far the attempt's files have been taken in."""
    notes: dict[str, Any] = run.executor_state.get("read", {}).get(str(attempt.number), {})
    return notes


def _write_notes(run: Run, attempt: Attempt, notes: dict[str, Any]) -> None:
    read = {**run.executor_state.get("read", {}), str(attempt.number): notes}
    run.change(executor_state={**run.executor_state, "read": read})


def _copy(run: Run, attempt: Attempt, checkpoint: CheckpointFile, step: int) -> StoredFile:
    with checkpoint.open() as content:
        stored: StoredFile = run.artifacts.put_checkpoint(
            run,
            content,
            step=step,
            version=checkpoint.version(attempt.number),
            suffix=checkpoint.suffix,
        )
    return stored


def _is_done(run: Run) -> bool:
    return run.total_steps is not None and run.step >= run.total_steps


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return str(number)
