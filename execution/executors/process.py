"""A command on the worker's host.

The training-script contract: a script prints (log lines), appends flat JSON objects to
``$TRAINHUB_METRICS_FILE`` or writes TensorBoard's event files (metrics), writes whole files or
folders into ``$TRAINHUB_CHECKPOINT_DIR`` and its results into
``$TRAINHUB_OUTPUT_DIR/evaluation.json``, starts from ``$TRAINHUB_RESUME_FROM`` when that is set,
and on SIGTERM saves and exits.

Each attempt has a directory, ``<data>/runs/<run>/attempt-<n>``, and a launcher that
outlives the worker; attempt.py reads the state of the work from them. A training that has a user of
its own (training_user.py) works in a folder of that directory, and reaches nothing else in it. How
far its files have been ingested is in the run's ``executor_state``, committed together with the
ingested rows, so that nothing is ingested twice or skipped. Large files are copied first, without
the run's row lock.
"""

from __future__ import annotations

import io
import logging
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.open_mode import is_open
from accounts.tokens import issue_script_token, revoke_tokens
from artifacts import storing, uploads
from artifacts.unreferenced_blobs import UnreferencedBlob
from code_bundles import storing as storing_code
from code_bundles.placing import place_code
from core.exceptions import DomainError
from core.messages import Message, in_english, words_of
from execution.executors import attempt as attempts
from execution.executors import failure, training_user
from execution.executors.attempt import Attempt, Ending
from execution.executors.checkpoint_executor import CheckpointExecutor
from execution.executors.ingestion import Ingestion, encoding_of
from execution.executors.notes import notes_of
from execution.executors.process_inputs import Source, command_of, environment_of, source_of
from execution.executors.stacks import stacks_of
from execution.executors.training_user import TrainingUser
from execution.outputs import (
    configuration_bytes,
    put_events,
    store_configuration,
)
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from metrics import recording
from runs.executors import CannotStart, Postponed, WorkState, WorkStatus
from runs.models import EventKind, Run, StopKind, Worker

logger = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(days=90)  # of a script's token, in case no worker revokes it


class DeviceHeld(DomainError):
    """A process that cannot be killed yet uses a GPU that the run is to use."""


class ProcessExecutor(CheckpointExecutor):
    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return hyperparameters.get("max_steps")

    # --- start -------------------------------------------------------------------------------

    def start(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            attempt.launch()
            return
        command_of(run)  # before anything else is done for a command that cannot be started
        for stuck in self._end_earlier_attempts(run, worker):
            _refuse_held_devices(run, stuck)
        draft, user = _draft(attempt)
        folder = draft if user is None else draft / training_user.FOLDER
        (folder / "checkpoints").mkdir()
        (folder / "config.json").write_bytes(configuration_bytes(run))
        code = place_code(run, folder)
        source = source_of(run, folder / "resume")
        self._rewind(run, worker, source)
        place = attempt.directory / folder.relative_to(draft)
        code_place = None if code is None else place / code.relative_to(folder)
        command = command_of(run, code_place)
        environment = self._token(run, worker) | environment_of(run, attempt, place, user)
        if source.path is not None:
            inside = source.path.relative_to(folder)
            environment["TRAINHUB_RESUME_FROM"] = str(place / inside)
        if code_place is not None:
            environment["TRAINHUB_CODE_DIR"] = str(code_place)
        _free_devices(run)
        attempt.create(draft, command, environment, run.devices, user, starts_in=code)
        attempt.launch()

    def _token(self, run: Run, worker: Worker) -> dict[str, str]:
        """The variable with which the script reports to TrainHub, if that needs a token: one of the
        run's creator that works for this run alone, until this attempt or the run ends."""
        if is_open() or run.created_by is None:
            return {}
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            revoke_tokens(locked.script_tokens)
            token, digest = issue_script_token(run.created_by, run.pk, life=TOKEN_LIFE)
            locked.change(script_tokens=[digest])
        return {"MLFLOW_TRACKING_TOKEN": token}

    def _end_earlier_attempts(self, run: Run, worker: Worker) -> list[Attempt]:
        """Kill attempts of a dead worker that may still run here, and ingest what they left; return
        those that cannot be killed yet. Raises Postponed."""
        stuck = []
        for attempt in Attempt.earlier_than(run):
            is_gone = attempt.kill()
            ending = _ending(run, attempt) or attempt.ending_at_kill()
            if not Ingestion(run, worker, attempt).ingest(ending):
                raise Postponed
            if is_gone:
                attempt.delete()
            else:
                stuck.append(attempt)
        return stuck

    def _rewind(self, run: Run, worker: Worker, source: Source) -> None:
        """Rewind the run to the step it starts from, if it had advanced further."""
        events = None if "event_points" in run.executor_state else put_events(run)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if events is not None:
                store_configuration(locked)
                storing.record_events(locked, events)
                locked.change(executor_state={**locked.executor_state, "event_points": 0})
            appending.append_log(
                locked,
                [
                    Line.new(in_english(text), LogLevel.WARNING, "trainhub")
                    for text in source.skipped
                ],
            )
            from_step = locked.step
            # Also if the step is the same: the metrics of a script that reports through the API
            # alone may be further.
            if run.attempt > 1 or from_step > source.step:
                if source.is_own:
                    points = recording.rewind(locked, source.step)
                else:
                    points = recording.rewind_to_start(locked)
                if points or from_step > source.step:
                    reason = Message(
                        "Rewound from step %(before)d to %(step)d; deleted %(points)d points.",
                        before=from_step,
                        step=source.step,
                        points=points,
                    )
                    locked.note(EventKind.REWOUND, worker=worker, reason=reason)

    # --- poll --------------------------------------------------------------------------------

    def poll(self, run: Run, worker: Worker) -> WorkStatus:
        attempt = Attempt.of(run)
        if not attempt.is_launched:
            if notes_of(run, attempt):
                # It ran on the host where this worker was before, which has its files.
                return WorkStatus(
                    WorkState.DIED, reason=Message("The attempt's files are missing.")
                )
            return WorkStatus(WorkState.ABSENT)
        attempt.launch()  # its worker may have died before it did
        ending = _ending(run, attempt)
        if ending is not None:
            attempt.kill_leftovers()
        is_stored = Ingestion(run, worker, attempt).ingest(ending)
        if ending is None:
            return WorkStatus(WorkState.WORKING)
        if not is_stored:
            return WorkStatus(WorkState.STORING)
        return self._status_at_end(run, attempt, ending)

    def _status_at_end(self, run: Run, attempt: Attempt, ending: Ending) -> WorkStatus:
        """Interpret the exit code, depending on whether the process was asked to stop."""
        code = ending.returncode
        # A run that was to stop for its stall, but ended before it was asked, ended by itself.
        asked = attempt.stop_was_sent or run.stop_kind == StopKind.CANCEL
        if code == 0:
            # A script may also exit with 0 because it was asked to stop.
            done = not asked or _is_done(Run.objects.get(pk=run.pk))
            return WorkStatus(WorkState.FINISHED if done else WorkState.STOPPED, exit_code=0)
        if asked:
            return WorkStatus(WorkState.STOPPED, exit_code=code)
        if code is None:
            reason = Message("The training process disappeared without an exit code.")
            return WorkStatus(WorkState.DIED, reason=reason)
        return failure.with_full_disk(
            failure.work_status(attempt.directory, code, encoding_of(run)), ending
        )

    # --- stop --------------------------------------------------------------------------------

    def stop(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            attempt.terminate()

    def abandon(self, run: Run, worker: Worker) -> None:
        self._end_earlier_attempts(run, worker)

    def kill(self, run: Run, worker: Worker) -> None:
        Attempt.of(run).kill()

    def diagnose(self, run: Run, worker: Worker) -> None:
        """Store the stacks of its processes. The training has not reported anything by that."""
        content = stacks_of(Attempt.of(run).tree()).encode(errors="backslashreplace")
        path = f"stalled/attempt-{run.attempt}.txt"
        try:
            artifact, _is_new = uploads.store(run, path, io.BytesIO(content), is_report=False)
        except (OSError, DomainError) as error:
            why = in_english(words_of(error))
            text = f"The stacks of its processes could not be stored: {why}"
        else:
            text = f"The stacks of its processes are in {path} ({artifact.pk})."
        line = Line.new(text, LogLevel.WARNING, "trainhub")
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            appending.append_log(locked, [line], is_report=False)

    def forget(self, run: Run) -> None:
        attempts.forget(run.pk)

    def tidy(self) -> None:
        UnreferencedBlob.objects.sweep()
        storing_code.sweep()
        local_runs = attempts.local_runs()
        known = Run.objects.only("status", "attempt").in_bulk(list(local_runs))
        for run_id, local_attempts in local_runs.items():
            run = known.get(run_id)
            if run is None:
                continue  # it belongs to another database that shares this data directory
            try:
                _tidy(run, local_attempts)
            except Exception:  # the others' files and processes are tidied all the same
                logger.exception("the files of run %s could not be tidied", run_id)


def _draft(attempt: Attempt) -> tuple[Path, TrainingUser | None]:
    """An empty directory for the attempt, which nobody else can enter yet, and the training's own
    user, who has got a folder in it. Raises NoUserFree, CannotStart."""
    settings.WORK_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    attempt.directory.parent.mkdir(mode=0o700, exist_ok=True)
    draft = attempt.directory.with_name(f".{attempt.directory.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if not settings.TRAINING_USER:
        return draft, None
    folder = draft / training_user.FOLDER
    folder.mkdir(mode=0o700)
    try:
        return draft, training_user.claim(folder)
    except (KeyError, PermissionError):
        raise CannotStart(training_user.problem() or str(settings.TRAINING_USER)) from None


def _tidy(run: Run, local_attempts: list[Attempt]) -> None:
    if run.is_terminal:
        logger.info("deleting the files of run %s", run.pk)
        attempts.forget(run.pk)
        return
    for attempt in local_attempts:
        # The run continues elsewhere. Keep the files in case it comes back.
        if attempt.number < run.attempt and attempt.ending() is None:
            logger.warning("killing attempt %d of run %s", attempt.number, run.pk)
            attempt.kill()


def _ending(run: Run, attempt: Attempt) -> Ending | None:
    ending = attempt.ending()
    if ending is None:
        return None
    return failure.with_killed_ranks(ending, attempt.directory, encoding_of(run))


def _free_devices(run: Run) -> None:
    """Kill attempts on this host that still use the run's devices although they are no longer
    theirs: their worker died, and their runs continue elsewhere or wait. Raises DeviceHeld."""
    if not run.devices:
        return
    local_runs = attempts.local_runs()
    local_runs.pop(run.pk, None)  # its own earlier attempts have been ended
    known = Run.objects.only("devices", "attempt").in_bulk(list(local_runs))
    for run_id, local_attempts in local_runs.items():
        other = known.get(run_id)
        if other is None:
            continue  # it belongs to another database that shares this data directory
        for attempt in local_attempts:
            current = attempt.number == other.attempt and attempt.devices <= set(other.devices)
            if current or attempt.is_known_to_be_gone or not attempt.devices & set(run.devices):
                continue
            logger.warning("killing attempt %d of run %s for its GPUs", attempt.number, run_id)
            if not attempt.kill():
                _refuse_held_devices(run, attempt)


def _refuse_held_devices(run: Run, attempt: Attempt) -> None:
    """``attempt``: one that cannot be killed yet."""
    held = attempt.devices & set(run.devices)
    if held:
        raise DeviceHeld(
            Message(
                "Attempt %(number)d of run %(run)s still holds GPU %(names)s: one of its processes "
                "is stuck in the operating system and cannot be killed yet.",
                number=attempt.number,
                run=attempt.run_id,
                names=", ".join(sorted(held)),
            )
        )


def _is_done(run: Run) -> bool:
    return run.total_steps is not None and run.step >= run.total_steps
