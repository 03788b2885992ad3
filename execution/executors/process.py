"""A command on the worker's host.

The training-script contract: a script prints (log lines), appends flat JSON objects to
``$TRAINHUB_METRICS_FILE`` or writes TensorBoard's event files (metrics), writes whole files or
folders into ``$TRAINHUB_CHECKPOINT_DIR`` and its results into
``$TRAINHUB_OUTPUT_DIR/evaluation.json``, starts from ``$TRAINHUB_RESUME_FROM`` when that is set,
and on SIGTERM saves and exits.

Each attempt has a directory, ``<data>/runs/<run>/attempt-<n>``, and a launcher (launcher.py) that
outlives the worker; attempt.py reads the state of the work from them. How far their files have been
ingested is in the run's ``executor_state``, committed together with the ingested rows, so that
nothing is ingested twice or skipped. Large files are copied first, without the run's row lock.
"""

from __future__ import annotations

import io
import logging
import shutil
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Literal

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.open_mode import is_open
from accounts.tokens import issue_token, revoke_tokens
from artifacts import storing, uploads
from artifacts.blobs import StoredFile
from artifacts.models import Artifact
from artifacts.storage import Source as Bytes
from artifacts.storage_errors import StorageError
from artifacts.storing import Origin
from artifacts.tar_stream import Changed
from core.exceptions import DomainError
from execution.executor_state import AttemptNotes
from execution.executors import attempt as attempts
from execution.executors import declarations, evaluation, event_files, failure
from execution.executors.attempt import Attempt, Ending
from execution.executors.checkpoint_executor import CheckpointExecutor
from execution.executors.checkpoint_scan import FoundCheckpoint, Scan, Unfinished, scan
from execution.executors.metric_lines import Problem, metric_report
from execution.executors.notes import notes_of, write_notes
from execution.executors.other_files import store_others
from execution.executors.postponement import NotStored, is_due, note_stored, store_or_postpone
from execution.executors.process_inputs import Source, command_of, environment_of, source_of
from execution.executors.stacks import stacks_of
from execution.executors.streams import next_entries
from execution.executors.text_lines import read_whole_lines
from execution.outputs import (
    configuration_bytes,
    events_due,
    point_count,
    put_events,
    store_configuration,
)
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from metrics import recording
from metrics.recording import TooManyMetrics
from runs import progress
from runs.executors import Postponed, WorkState, WorkStatus
from runs.models import EventKind, Run, Worker
from runs.models.encoding import DEFAULT_ENCODING

logger = logging.getLogger(__name__)

STREAMS: Final[tuple[Literal["stdout", "stderr"], ...]] = ("stdout", "stderr")
TOKEN_LIFE = timedelta(days=90)  # of a script's token, in case no worker revokes it


class ProcessExecutor(CheckpointExecutor):
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
        self._rewind(run, worker, source)
        environment = environment_of(run, attempt) | self._token(run, worker)
        if source.path is not None:
            inside = source.path.relative_to(draft)
            environment["TRAINHUB_RESUME_FROM"] = str(attempt.directory / inside)
        _free_devices(run)
        attempt.create(draft, command, environment, run.devices)
        attempt.launch()

    def _token(self, run: Run, worker: Worker) -> dict[str, str]:
        """The variable with which the script reports to TrainHub as the run's creator, if that
        needs a token. The token is revoked when the run ends."""
        if is_open() or run.created_by is None:
            return {}
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            revoke_tokens(locked.script_tokens)
            token, digest = issue_token(run.created_by, life=TOKEN_LIFE)
            locked.change(script_tokens=[digest])
        return {"MLFLOW_TRACKING_TOKEN": token}

    def _end_earlier_attempts(self, run: Run, worker: Worker) -> None:
        """Kill attempts of a dead worker that may still run here, and ingest what they left."""
        for attempt in Attempt.earlier_than(run):
            attempt.kill()
            ending = _ending(run, attempt)
            # None: could not be killed; ignore what it still writes.
            if ending is not None and not self._ingest(run, worker, attempt, ending):
                raise Postponed
            shutil.rmtree(attempt.directory, ignore_errors=True)

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
                [Line.new(text, LogLevel.WARNING, "trainhub") for text in source.skipped],
            )
            from_step = locked.step
            # Also if the step is the same: the metrics of a script that reports through the API
            # alone may be further.
            if run.attempt > 1 or from_step > source.step:
                points = recording.rewind(locked, source.step)
                if points or from_step > source.step:
                    reason = _("Rewound from step %(from)d to %(to)d; deleted %(points)d points.")
                    locked.note(
                        EventKind.REWOUND,
                        worker=worker,
                        reason=reason % {"from": from_step, "to": source.step, "points": points},
                    )

    # --- poll --------------------------------------------------------------------------------

    def poll(self, run: Run, worker: Worker) -> WorkStatus:
        attempt = Attempt.of(run)
        if not attempt.is_launched:
            if notes_of(run, attempt):
                # It ran on the host where this worker was before, which has its files.
                return WorkStatus(WorkState.DIED, reason=_("The attempt's files are missing."))
            return WorkStatus(WorkState.ABSENT)
        ending = _ending(run, attempt)
        if ending is not None:
            attempt.kill_leftovers()
        is_stored = self._ingest(run, worker, attempt, ending)
        if ending is None:
            return WorkStatus(WorkState.WORKING)
        if not is_stored:
            return WorkStatus(WorkState.STORING)
        return self._status_at_end(run, attempt, ending)

    def _ingest(self, run: Run, worker: Worker, attempt: Attempt, ending: Ending | None) -> bool:
        """Ingest new output; all of it if the attempt has ended. False if some of its files could
        not be stored for now."""
        ended = ending is not None
        at_end = False
        while ended and not at_end:  # the last lines may declare checkpoints
            at_end = self._ingest_text(run, worker, attempt, ended=True)
        unstored = notes_of(Run.objects.get(pk=run.pk), attempt).get("unstored")
        if unstored is not None and not is_due(unstored):
            if not ended:
                self._ingest_text(run, worker, attempt, ended=False)
            return False
        # List the checkpoints before the lines of a working process, so that what was reported
        # before a checkpoint was saved is ingested before it.
        found, checkpoints = self._new_checkpoints(run, attempt, ending)
        if not ended:
            at_end = self._ingest_text(run, worker, attempt, ended=False)
        while checkpoints and not at_end:
            at_end = self._ingest_text(run, worker, attempt, ended=False)

        def store() -> None:
            for checkpoint, damage in checkpoints:
                self._ingest_checkpoint(run, worker, attempt, checkpoint, damage)
            self._ingest_evaluation(run, worker, attempt, ended=ended)
            if ended:
                self._ingest_others(run, worker, attempt, found)
            if checkpoints or ended:
                self._ingest_events(run, worker, at_end=ended)

        if not store_or_postpone(run, worker, attempt, store):
            return False
        if unstored is not None:
            note_stored(run, worker, attempt)
        return True

    def _new_checkpoints(
        self, run: Run, attempt: Attempt, ending: Ending | None
    ) -> tuple[Scan, list[tuple[FoundCheckpoint, str]]]:
        """What the checkpoint folder contains, and the checkpoints that are new or have changed
        since they were ingested, each with the reason if it is incomplete. Leaves out those that
        are still being written."""
        notes = notes_of(Run.objects.get(pk=run.pk), attempt)
        found = scan(attempt.directory / "checkpoints", notes.get("declared"))
        checkpoints = []
        for item in found.checkpoints:
            checkpoint = declarations.as_declared(item, notes)
            if checkpoint is not None:
                with suppress(Unfinished, FileNotFoundError):
                    checkpoints.append((checkpoint, checkpoint.problem(ending) or ""))
        return found, checkpoints

    def _ingest_text(self, run: Run, worker: Worker, attempt: Attempt, *, ended: bool) -> bool:
        """Ingest the next chunk of each file; True if the end of every file was reached."""
        directory = attempt.directory
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            before = notes_of(locked, attempt)
            notes = before.copy()
            lines: list[Line] = []
            at_end = True
            for source in STREAMS:
                new_lines, source_at_end = next_entries(
                    directory, source, notes, encoding=_encoding(locked), ended=ended
                )
                lines += new_lines
                at_end = at_end and source_at_end
            path = directory / "metrics.jsonl"
            reading = read_whole_lines(path, before.get("metrics", 0), ended=ended)
            lines += self._ingest_metrics(locked, reading.lines, notes)
            notes["metrics"] = reading.offset
            event_lines, events_at_end = event_files.ingest(locked, directory, notes, ended=ended)
            lines += event_lines
            lines += declarations.ingest(notes, reading.lines)
            appending.append_log(locked, lines)
            if notes != before:
                write_notes(locked, attempt, notes)
        return at_end and reading.at_end and events_at_end

    def _ingest_metrics(self, run: Run, raw: list[bytes], notes: AttemptNotes) -> list[Line]:
        """Store the points of the next lines; return log lines about what cannot be taken."""
        if not raw:
            return []
        read, said = notes.get("metric_lines", 0), notes.get("said", [])
        report = metric_report(raw, first_line=read + 1, said=said)
        try:
            points = event_files.without_taken(run, report.points)
            recording.record_metrics(run, recording.in_order_of_report(run, points))
        except TooManyMetrics as error:  # logged; the training continues
            if "too_many" not in said:
                problem = Problem("too_many", f"metrics.jsonl: {error.message}")
                report.problems.append(problem)
        notes["metric_lines"] = read + len(raw)
        if report.problems:
            notes["said"] = [*said, *(problem.kind for problem in report.problems)]
        if report.step is not None:
            total = report.total_steps or run.total_steps
            # A far step may be that of another axis: the points decide.
            step = report.step if 0 <= report.step <= progress.far_step(total) else run.step
            progress.report_progress(run, step=step, total_steps=total)
        return [Line.new(problem.text, problem.level, "metrics") for problem in report.problems]

    def _ingest_evaluation(
        self, run: Run, worker: Worker, attempt: Attempt, *, ended: bool
    ) -> None:
        if not evaluation.is_new(attempt.directory, notes_of(run, attempt)):
            return
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            notes = notes_of(locked, attempt).copy()
            lines = evaluation.ingest(locked, attempt.directory, notes, ended=ended)
            write_notes(locked, attempt, notes)
            appending.append_log(locked, lines)

    def _ingest_checkpoint(
        self,
        run: Run,
        worker: Worker,
        attempt: Attempt,
        checkpoint: FoundCheckpoint,
        damage: str,
    ) -> None:
        """Store the bytes first and then, with the run's row locked, record the artifact."""
        step = checkpoint.step
        if step is None:
            step = recording.step_at(run, checkpoint.modified_ns // 1_000_000)
        try:
            stored = _copy(run, attempt, checkpoint, step)
        except (FileNotFoundError, Changed):
            return  # pruned or rewritten by the training in the meantime
        except StorageError as error:
            raise NotStored(
                _("The checkpoint %(path)s of step %(step)d is not stored yet: %(why)s")
                % {"path": checkpoint.saved_as, "step": step, "why": error}
            ) from error
        origin = Origin(checkpoint.saved_as, checkpoint.layout, damage)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            notes = notes_of(locked, attempt).copy()
            known = notes.get("checkpoints", {})
            artifact = storing.record_checkpoint(locked, stored, step=step, origin=origin)
            # A stopped training may save at a step without metrics.
            if step > locked.step and not damage:
                progress.report_progress(locked, step=step, total_steps=locked.total_steps)
            before = known.get(checkpoint.saved_as)
            is_rewritten = before is not None and not declarations.is_ingested(checkpoint, before)
            _log_checkpoint(locked, checkpoint, artifact, is_rewritten=is_rewritten)
            notes["checkpoints"] = {**known, checkpoint.saved_as: [*checkpoint.stamp, step]}
            write_notes(locked, attempt, notes)

    def _ingest_others(self, run: Run, worker: Worker, attempt: Attempt, found: Scan) -> None:
        """Keep the files next to the checkpoints, such as a README or a tokenizer, as they are."""
        notes = notes_of(Run.objects.get(pk=run.pk), attempt)
        if notes.get("others"):
            return
        problems = store_others(run, attempt.directory / "checkpoints", found)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            write_notes(locked, attempt, {**notes_of(locked, attempt), "others": True})
            lines = [Line.new(text, LogLevel.WARNING, "trainhub") for text in problems]
            appending.append_log(locked, lines)

    def _ingest_events(self, run: Run, worker: Worker, *, at_end: bool) -> None:
        current = Run.objects.get(pk=run.pk)
        points = point_count(current)
        written = current.executor_state.get("event_points")
        if points == written or not (at_end or events_due(current)):
            return
        stored = put_events(current)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            storing.record_events(locked, stored)
            locked.change(executor_state={**locked.executor_state, "event_points": points})

    def _status_at_end(self, run: Run, attempt: Attempt, ending: Ending) -> WorkStatus:
        """Interpret the exit code, depending on whether the process was asked to stop."""
        code = ending.returncode
        asked = run.stop_requested_at is not None or attempt.stop_was_sent
        if code == 0:
            # A script may also exit with 0 because it was asked to stop.
            done = not asked or _is_done(Run.objects.get(pk=run.pk))
            return WorkStatus(WorkState.FINISHED if done else WorkState.STOPPED, exit_code=0)
        if asked:
            return WorkStatus(WorkState.STOPPED, exit_code=code)
        if code is None:
            reason = _("The training process disappeared without an exit code.")
            return WorkStatus(WorkState.DIED, reason=reason)
        return failure.work_status(attempt.directory, code, _encoding(run))

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
        """Store the stacks of its processes."""
        stacks = stacks_of(Attempt.of(run).tree())
        path = f"stalled/attempt-{run.attempt}.txt"
        try:
            artifact, _is_new = uploads.store(run, path, io.BytesIO(stacks.encode()))
            line = Line.new(
                _("The stacks of its processes are in %(path)s (%(id)s).")
                % {"path": path, "id": artifact.pk},
                LogLevel.WARNING,
                "trainhub",
            )
        except (OSError, DomainError) as error:
            line = Line.new(
                _("The stacks of its processes could not be stored: %(why)s") % {"why": error},
                LogLevel.WARNING,
                "trainhub",
            )
        with transaction.atomic():
            appending.append_log(Run.objects.lock_held_by(worker, run.pk), [line])

    def forget(self, run: Run) -> None:
        attempts.forget(run.pk)

    def tidy(self) -> None:
        local_runs = attempts.local_runs()
        known = Run.objects.only("status", "attempt").in_bulk(list(local_runs))
        for run_id, local_attempts in local_runs.items():
            run = known.get(run_id)
            if run is None:
                continue  # it belongs to another database that shares this data directory
            if run.is_terminal:
                logger.info("deleting the files of run %s", run_id)
                attempts.forget(run_id)
                continue
            for attempt in local_attempts:
                # The run continues elsewhere. Keep the files in case it comes back.
                if attempt.number < run.attempt and attempt.ending() is None:
                    logger.warning("killing attempt %d of run %s", attempt.number, run_id)
                    attempt.kill()


def _ending(run: Run, attempt: Attempt) -> Ending | None:
    ending = attempt.ending()
    if ending is None:
        return None
    return failure.with_killed_ranks(ending, attempt.directory, _encoding(run))


def _free_devices(run: Run) -> None:
    """Kill attempts on this host that still use the run's devices although they are no longer
    theirs: their worker died, and their runs continue elsewhere or wait."""
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
            if attempt.devices & set(run.devices) and not current and attempt.ending() is None:
                logger.warning("killing attempt %d of run %s for its GPUs", attempt.number, run_id)
                attempt.kill()


# --- storing checkpoints ----------------------------------------------------------------------


def _copy(run: Run, attempt: Attempt, checkpoint: FoundCheckpoint, step: int) -> StoredFile:
    """Raises FileNotFoundError, Changed."""

    def put(content: Bytes) -> StoredFile:
        version = checkpoint.version(attempt.number)
        return storing.put_checkpoint(
            run, content, step=step, version=version, suffix=checkpoint.suffix
        )

    if checkpoint.is_folder:
        return put(checkpoint.archive())
    with checkpoint.path.open("rb") as content:
        return put(content)


def _log_checkpoint(
    run: Run, checkpoint: FoundCheckpoint, artifact: Artifact, *, is_rewritten: bool
) -> None:
    """Say in the run's log what its reader could not know otherwise."""
    damage = artifact.damage
    names = {"path": checkpoint.saved_as, "id": artifact.pk, "step": artifact.step, "why": damage}
    lines = []
    if damage:
        text = _("The checkpoint %(path)s (%(id)s) is damaged: %(why)s.") % names
        lines.append(Line.new(text, LogLevel.WARNING, "trainhub"))
    elif is_rewritten:
        text = _("%(path)s was written again: it is now checkpoint %(id)s of step %(step)d.")
        lines.append(Line.new(text % names, LogLevel.INFO, "trainhub"))
    if checkpoint.skipped_links:
        text = _("Links in %(path)s that cannot be followed: %(links)s.") % {
            **names,
            "links": ", ".join(checkpoint.skipped_links),
        }
        lines.append(Line.new(text, LogLevel.WARNING, "trainhub"))
    appending.append_log(run, lines)


def _is_done(run: Run) -> bool:
    return run.total_steps is not None and run.step >= run.total_steps


def _encoding(run: Run) -> str:
    return (run.recipe and run.recipe.encoding) or DEFAULT_ENCODING
