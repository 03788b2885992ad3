"""The base class of executors whose work is a launcher's: a command, in an attempt's directory.

The training-script contract: a script prints (log lines), appends flat JSON objects to
``$TRAINHUB_METRICS_FILE`` or writes TensorBoard's event files (metrics), writes whole files or
folders into ``$TRAINHUB_CHECKPOINT_DIR`` and its results into
``$TRAINHUB_OUTPUT_DIR/evaluation.json``, starts from ``$TRAINHUB_RESUME_FROM`` when that is set,
and on SIGTERM saves and exits.

Each attempt has a directory, ``<data>/runs/<run>/attempt-<n>``, and launchers (execution/launcher)
that outlive the worker; where they run is an AttemptHost's. How far its files have been ingested is
in the run's ``executor_state``, committed together with the ingested rows, so that nothing is
ingested twice or skipped. Large files are copied first, without the run's row lock.
"""

from __future__ import annotations

import io
import logging
import shutil
from abc import abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction

from accounts.open_mode import is_open
from accounts.tokens import issue_script_token, revoke_tokens
from artifacts import storing, uploads
from code_bundles.placing import place_code
from core.exceptions import DomainError
from core.messages import Message, in_english, words_of
from execution.executors import attempt as attempts
from execution.executors import failure, training_user
from execution.executors.attempt import Attempt, Ending
from execution.executors.attempt_host import AttemptHost, State, Waiting
from execution.executors.checkpoint_executor import CheckpointExecutor
from execution.executors.ingestion import Ingestion, encoding_of
from execution.executors.notes import notes_of
from execution.executors.process_inputs import (
    Source,
    command_of,
    environment_of,
    secrets_of,
    source_of,
)
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
from runs.models import EventKind, FailureKind, Run, StopKind, Worker

logger = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(days=90)  # of a script's token, in case no worker revokes it


class LauncherExecutor(CheckpointExecutor):
    engine: ClassVar[str] = ""  # of its attempts: the cluster that runs them; "" for this host
    # Whether trainings get variables of this process, e.g. PATH: those of another machine have its
    # own.
    inherits_environment: ClassVar[bool] = True

    @abstractmethod
    def host_of(self, attempt: Attempt) -> AttemptHost: ...

    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return hyperparameters.get("max_steps")

    # --- start -------------------------------------------------------------------------------

    def start(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            self._launch(run, worker, attempt)
            return
        # Before anything else is done for what cannot be started.
        self._command(run)
        secrets = secrets_of(run)
        stuck = self._end_earlier_attempts(run, worker)
        self._check_stuck(run, stuck)
        draft, user = self._draft(attempt)
        folder = draft if user is None else draft / training_user.FOLDER
        (folder / "checkpoints").mkdir()
        (folder / "config.json").write_bytes(configuration_bytes(run))
        code = place_code(run, folder)
        source = source_of(run, folder / "resume")
        self._rewind(run, worker, source)
        place = self._place(attempt) / folder.relative_to(draft)
        code_place = None if code is None else place / code.relative_to(folder)
        command = self._command(run, code_place)
        environment = self._token(run, worker) | environment_of(
            run,
            attempt,
            place,
            user,
            secrets=secrets,
            gpus=self._gpu_variables(run),
            inherits=self.inherits_environment,
        )
        if source.path is not None:
            inside = source.path.relative_to(folder)
            environment["TRAINHUB_RESUME_FROM"] = str(place / inside)
        if code_place is not None:
            environment["TRAINHUB_CODE_DIR"] = str(code_place)
        self._before_launch(run, draft)
        attempt.create(
            draft,
            command,
            environment,
            run.devices,
            user,
            starts_in=code,
            engine=self._told(run),
        )
        self._launch(run, worker, attempt)

    def _launch(self, run: Run, worker: Worker, attempt: Attempt) -> None:
        self.host_of(attempt).launch()

    def _place(self, attempt: Attempt) -> Path:
        """The attempt's directory where the training runs."""
        return attempt.directory

    def _command(self, run: Run, code: Path | None = None) -> list[str]:
        """``code``: the folder of the run's code where the training runs."""
        return command_of(run, code)

    def _gpu_variables(self, run: Run) -> dict[str, str]:
        """The variables that show a training its GPUs."""
        return {}

    def _check_stuck(self, run: Run, stuck: list[Attempt]) -> None:
        """``stuck``: earlier attempts that cannot be ended yet. Raises a DomainError if the next
        one must not be started beside them."""

    def _before_launch(self, run: Run, draft: Path) -> None:
        """What else is to be done before an attempt is created."""

    def _told(self, run: Run) -> Mapping[str, Any] | None:
        """What launchers in a cluster are told: see execution/launcher/program.py."""
        return None

    def _draft(self, attempt: Attempt) -> tuple[Path, TrainingUser | None]:
        """An empty directory for the attempt, which nobody else can enter yet, and the training's
        own user, who has got a folder in it. Raises NoUserFree, CannotStart."""
        settings.WORK_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        attempt.directory.parent.mkdir(mode=0o700, exist_ok=True)
        draft = attempt.directory.with_name(f".{attempt.directory.name}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        return draft, None

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
        """End attempts of a dead worker that may still run, and ingest what they left; return
        those that cannot be ended yet. Raises Postponed."""
        stuck = []
        for attempt in Attempt.earlier_than(run):
            host = self.host_of(attempt)
            is_gone = host.kill()
            ending = self._ending(run, attempt, host.state()) or host.ending_at_kill()
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
        host = self.host_of(attempt)
        try:
            host.launch()  # its worker may have died before it did
        except CannotStart as error:
            kind = FailureKind.CANNOT_START
            return WorkStatus(WorkState.FAILED, reason=words_of(error), failure_kind=kind)
        state, problem = self._state(host)
        if isinstance(state, Waiting):
            return WorkStatus(WorkState.WAITING, state.reason, starts_at=state.starts_at)
        ending = self._ending(run, attempt, state)
        if ending is not None:
            host.end_leftovers()
        is_stored = self._ingest(run, worker, attempt, ending)
        if problem is not None:
            raise problem
        if ending is None:
            return WorkStatus(WorkState.WORKING)
        if not is_stored:
            return WorkStatus(WorkState.STORING)
        return self._status_at_end(run, attempt, ending)

    def _ingest(self, run: Run, worker: Worker, attempt: Attempt, ending: Ending | None) -> bool:
        return Ingestion(run, worker, attempt).ingest(ending)

    def _state(self, host: AttemptHost) -> tuple[State, DomainError | None]:
        """The state, or why it cannot be told for now: its output is read all the same."""
        try:
            return host.state(), None
        except DomainError as problem:
            return None, problem

    def _ending(self, run: Run, attempt: Attempt, state: State) -> Ending | None:
        if not isinstance(state, Ending):
            return None
        folder = attempt.node_folder(state.node)
        return failure.with_killed_ranks(state, folder, encoding_of(run))

    def _status_at_end(self, run: Run, attempt: Attempt, ending: Ending) -> WorkStatus:
        """Interpret the exit code, depending on whether the process was asked to stop."""
        code = ending.returncode
        # A run that was to stop for its stall, but ended before it was asked, ended by itself.
        asked = attempt.stop_was_sent or run.stop_kind == StopKind.CANCEL
        if code == 0:
            # A script may also exit with 0 because it was asked to stop.
            by_itself = not asked and ending.cause is None
            if by_itself or _is_done(Run.objects.get(pk=run.pk)):
                return WorkStatus(WorkState.FINISHED, exit_code=0)
        if asked:
            return WorkStatus(WorkState.STOPPED, exit_code=code)
        if ending.cause is not None:
            return ended_by_cluster(ending.cause, code)
        if code is None:
            reason = Message("The training process disappeared without an exit code.")
            return WorkStatus(WorkState.DIED, reason=reason)
        folder = attempt.node_folder(ending.node)
        return failure.with_full_disk(failure.work_status(folder, code, encoding_of(run)), ending)

    # --- stop --------------------------------------------------------------------------------

    def stop(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            self.host_of(attempt).ask()

    def abandon(self, run: Run, worker: Worker) -> None:
        self._end_earlier_attempts(run, worker)

    def kill(self, run: Run, worker: Worker) -> None:
        attempt = Attempt.of(run)
        if attempt.is_launched:
            self.host_of(attempt).kill()

    def diagnose(self, run: Run, worker: Worker) -> None:
        """Store the stacks of its processes. The training has not reported anything by that."""
        content = stacks_of(self.host_of(Attempt.of(run)).processes()).encode(
            errors="backslashreplace"
        )
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

    # --- the end -----------------------------------------------------------------------------

    def tidy(self) -> None:
        """End attempts that are no longer needed, and delete the files of runs that have ended."""
        local_runs = attempts.local_runs()
        known = Run.objects.only("status", "attempt").in_bulk(list(local_runs))
        for run_id, local_attempts in local_runs.items():
            run = known.get(run_id)
            if run is None:
                continue  # it belongs to another database that shares this data directory
            if any(attempt.engine != self.engine for attempt in local_attempts):
                continue  # another executor's
            try:
                self._tidy(run, local_attempts)
            except Exception:  # the others' files and processes are tidied all the same
                logger.exception("the files of run %s could not be tidied", run_id)

    def _tidy(self, run: Run, local_attempts: list[Attempt]) -> None:
        if run.is_terminal:
            logger.info("deleting the files of run %s", run.pk)
            self.forget(run)
            return
        for attempt in local_attempts:
            # The run continues elsewhere. Keep the files in case it comes back.
            if attempt.number < run.attempt:
                host = self.host_of(attempt)
                if not isinstance(host.state(), Ending):
                    logger.warning("killing attempt %d of run %s", attempt.number, run.pk)
                    host.kill()


def told_of(run: Run, engine: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What launchers in a cluster are told. ``job``: what the attempt asks of the cluster."""
    assert run.recipe is not None
    return {
        "engine": engine,
        "nodes": job["nodes"],
        "gpus_per_node": job["gpus_per_node"],
        "grace_seconds": run.recipe.stop_grace_seconds,
        "job": job,
    }


def ended_by_cluster(cause: attempts.Cause, code: int | None) -> WorkStatus:
    return WorkStatus(
        WorkState.DIED,
        reason=cause.reason,
        exit_code=code,
        failure_kind=cause.kind,
        is_interruption=cause.is_interruption,
    )


def _is_done(run: Run) -> bool:
    return run.total_steps is not None and run.step >= run.total_steps
