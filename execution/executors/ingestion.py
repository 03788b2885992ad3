"""Takes what an attempt has written: log lines, metrics, checkpoints, results."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from django.db import transaction

from artifacts import storing
from artifacts.blobs import StoredFile
from artifacts.models import Artifact
from artifacts.storage_errors import StorageError
from artifacts.storing import Origin
from artifacts.tar_stream import Changed
from core.messages import Message, Text, in_english, words_of
from core.times import unix_milliseconds
from execution.executor_state import AttemptNotes
from execution.executors import declarations, evaluation, event_files
from execution.executors.attempt import Attempt, Ending
from execution.executors.checkpoint_scan import Scan, scan
from execution.executors.found_checkpoint import FoundCheckpoint, Unfinished, by_step
from execution.executors.harness_files import store_harness_results
from execution.executors.metric_lines import Problem, metric_report
from execution.executors.notes import notes_of, write_notes
from execution.executors.other_files import store_others
from execution.executors.postponement import NotStored, is_due, note_stored, store_or_postpone
from execution.executors.streams import next_entries
from execution.executors.text_lines import LASTING, in_utf8, read_whole_lines
from execution.outputs import events_due, point_count, put_events
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from metrics import recording
from metrics.recording import TooManyMetrics
from runs import progress
from runs.models import LeaseLost, Run, Worker
from runs.models.encoding import DEFAULT_ENCODING

MAX_UNREADABLE: Final = 100  # paths that are said
MAX_REWRITTEN: Final = 3  # copies in a row
MAX_WAITS: Final = 8  # a quarter of an hour: see postponement.py
STREAMS: Final[tuple[Literal["stdout", "stderr"], ...]] = ("stdout", "stderr")


@dataclass(frozen=True)
class Ingestion:
    """Ingests the output of one attempt of ``run``, which ``worker`` holds."""

    run: Run
    worker: Worker
    attempt: Attempt

    def ingest(self, ending: Ending | None) -> bool:
        """Ingest new output; all of it if the attempt has ended. False if some of its files could
        not be stored for now."""
        ended = ending is not None
        at_end = False
        while ended and not at_end:  # the last lines may declare checkpoints
            at_end = self._ingest_text(ended=True)
        notes = self._notes()
        unstored = notes.get("unstored")
        if unstored is not None and not is_due(unstored):
            if not ended:
                self._ingest_text(ended=False)
            return False
        # List the checkpoints before the lines of a working process, so that what was reported
        # before a checkpoint was saved is ingested before it.
        found, checkpoints = self._new_checkpoints(notes, ending)
        if not ended:
            at_end = self._ingest_text(ended=False)
        while checkpoints and not at_end:
            at_end = self._ingest_text(ended=False)

        def store() -> None:
            for checkpoint, damage in checkpoints:
                self._ingest_checkpoint(checkpoint, damage, ended=ended)
            self._ingest_evaluation(ended=ended)
            if ended:
                self._wait_for_passing(found.unreadable)
                self._ingest_others(found)
            if checkpoints or ended:
                self._ingest_events(at_end=ended)

        if not store_or_postpone(self.run, self.worker, self.attempt, store):
            return False
        if unstored is not None:
            note_stored(self.run, self.worker, self.attempt)
        return True

    def _new_checkpoints(
        self, notes: AttemptNotes, ending: Ending | None
    ) -> tuple[Scan, list[tuple[FoundCheckpoint, Text]]]:
        """What the checkpoint folder contains, and the checkpoints that are new or have changed
        since they were ingested, each with the reason if it is incomplete. Leaves out those that
        are still being written, and, with a line in the log, those that cannot be read."""
        found = scan(self._checkpoints, notes.get("declared"), self.attempt.owner)
        now = self.attempt.now()
        declared = (declarations.as_declared(item, notes) for item in found.checkpoints)
        checkpoints = []
        for checkpoint in by_step(item for item in declared if item is not None):
            try:
                checkpoints.append((checkpoint, checkpoint.problem(ending, now) or ""))
            except (Unfinished, FileNotFoundError):
                continue
            except OSError as error:
                found.unreadable[checkpoint.shown_as] = error
        self._say_unreadable(found.unreadable)
        return found, checkpoints

    def _wait_for_passing(self, problems: dict[str, OSError]) -> None:
        """After the end of the attempt, errors that may pass, as of a file server, are waited for:
        what cannot be read now would be lost. Raises NotStored."""
        for path, error in problems.items():
            if error.errno not in LASTING:
                self._wait_for(path, error.strerror or str(error))

    def _wait_for(self, path: str, why: Text) -> None:
        """Raises NotStored, unless it has been waited for long enough."""
        unstored = self._notes().get("unstored")
        if unstored is None or unstored["failures"] < MAX_WAITS:
            text = "%(path)s in the checkpoint folder cannot be read yet: %(why)s."
            raise NotStored(Message(text, path=path, why=why))

    def _say_unreadable(self, problems: dict[str, OSError]) -> None:
        """Log, once for each path, what in the checkpoint folder cannot be read."""
        if not problems:
            return
        said = self._notes().get("unreadable", [])
        new = [path for path in problems if path not in said][: MAX_UNREADABLE - len(said)]
        if not new:
            return
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            notes = notes_of(locked, self.attempt)
            write_notes(locked, self.attempt, {**notes, "unreadable": [*said, *new]})
            texts = [
                f"{path} in the checkpoint folder cannot be read: "
                f"{problems[path].strerror or problems[path]}."
                for path in new
            ]
            appending.append_log(
                locked, [Line.new(it, LogLevel.WARNING, "trainhub") for it in texts]
            )

    @property
    def _checkpoints(self) -> Path:
        return self.attempt.folder / "checkpoints"

    def _ingest_text(self, *, ended: bool) -> bool:
        """Ingest the next chunk of each file; True if the end of every file was reached."""
        folder = self.attempt.folder
        owner = self.attempt.owner
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            before = notes_of(locked, self.attempt)
            notes = before.copy()
            lines: list[Line] = []
            at_end = True
            encoding = encoding_of(locked)
            for rank in range(self.attempt.node_count):
                new_lines, node_at_end = self._node_lines(rank, notes, encoding, ended=ended)
                lines += new_lines
                at_end = at_end and node_at_end
            path = folder / "metrics.jsonl"
            # Half a line of JSON is of no use, however long it is.
            offset = before.get("metrics", 0)
            mark = before.get("metrics_mark", "")
            reading = read_whole_lines(
                path, offset, ended=ended, quiet=False, owner=owner, mark=mark
            )
            rows = [in_utf8(line, encoding) for line in reading.lines]
            if reading.problem:
                lines += _note_unreadable(notes, reading.problem)
            if reading.is_replaced:
                lines += _note_replaced(notes)
            first_line = notes.get("metric_lines", 0) + 1
            lines += _ingest_metrics(locked, rows, notes)
            notes["metrics"] = reading.offset
            notes["metrics_mark"] = reading.mark
            event_lines, events_at_end = event_files.ingest(
                locked, folder, notes, ended=ended, owner=owner
            )
            lines += event_lines
            if rows:
                lines += declarations.ingest(
                    notes,
                    rows,
                    first_line=first_line,
                    folder=self._checkpoints,
                    written_at_ns=path.stat().st_mtime_ns,
                )
            appending.append_log(locked, lines)
            if notes != before:
                write_notes(locked, self.attempt, notes)
        return at_end and reading.at_end and events_at_end

    def _node_lines(
        self, rank: int, notes: AttemptNotes, encoding: str, *, ended: bool
    ) -> tuple[list[Line], bool]:
        """The next log lines of a node, and whether their end was reached. Those of other nodes
        than the first name it in their source, as in stderr@1. Changes ``notes``."""
        key, others = str(rank), notes.get("nodes", {})
        own = notes if rank == 0 else others.get(key, AttemptNotes()).copy()
        lines: list[Line] = []
        at_end = True
        for source in STREAMS:
            new_lines, source_at_end = next_entries(
                self.attempt.node_folder(rank), source, own, encoding=encoding, ended=ended
            )
            lines += new_lines
            at_end = at_end and source_at_end
        if rank:
            lines = [line._replace(source=f"{line.source}@{rank}") for line in lines]
            if own != others.get(key):
                notes["nodes"] = {**others, key: own}
        return lines, at_end

    def _ingest_evaluation(self, *, ended: bool) -> None:
        folder, owner = self.attempt.folder, self.attempt.owner
        found = evaluation.read(folder, self._notes(), ended=ended, owner=owner)
        if found is None:
            return
        stored = None
        if found.content is not None:
            self._check_lease()
            stored = storing.put_evaluation(self.run, io.BytesIO(found.content))
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            if stored is not None:
                storing.record_evaluation(locked, stored, step=locked.step)
            notes = notes_of(locked, self.attempt).copy()
            notes["evaluation"] = found.modified_ns
            write_notes(locked, self.attempt, notes)
            appending.append_log(locked, found.lines)

    def _check_lease(self) -> None:
        """Before bytes replace others. Raises LeaseLost."""
        with transaction.atomic():
            Run.objects.lock_held_by(self.worker, self.run.pk)

    def _ingest_checkpoint(self, checkpoint: FoundCheckpoint, damage: Text, *, ended: bool) -> None:
        """Store the bytes first and then, with the run's row locked, record the artifact. Raises
        NotStored."""
        step = checkpoint.step
        before = declarations.known_of(checkpoint, self._notes())
        if step is None:
            reported = recording.step_at(self.run, checkpoint.modified_ns // 1_000_000)
            step = max(reported, declarations.step_of(before) or 0)
        elif self._correct_step(checkpoint, damage, before, step):
            return
        try:
            stored = self._copy(checkpoint, step)
        except FileNotFoundError:
            return  # pruned by the training
        except Changed:
            if ended:
                self._wait_for(checkpoint.shown_as, Message("it changed while it was read"))
            self._note_rewritten(checkpoint)
            return
        except OSError as error:
            if ended:
                self._wait_for_passing({checkpoint.shown_as: error})
            self._say_unreadable({checkpoint.shown_as: error})
            return
        except StorageError as error:
            raise NotStored(
                Message(
                    "The checkpoint %(path)s of step %(step)d is not stored yet: %(why)s",
                    path=checkpoint.shown_as,
                    step=step,
                    why=error,
                )
            ) from error
        try:
            self._record_checkpoint(checkpoint, stored, damage, before, step=step)
        except LeaseLost:
            storing.drop_unclaimed(self.run, stored)
            raise

    def _record_checkpoint(
        self,
        checkpoint: FoundCheckpoint,
        stored: StoredFile,
        damage: Text,
        before: list[int] | None,
        *,
        step: int,
    ) -> None:
        origin = Origin(checkpoint.saved_as, checkpoint.layout, damage)
        sound = storing.sound_copies(self.run, stored)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            storing.claim_checkpoint(locked, stored)
            notes = notes_of(locked, self.attempt).copy()
            known = notes.get("checkpoints", {})
            same = None
            if checkpoint.step is None and not damage:
                same = storing.use_same_bytes(locked, stored)
            artifact = same or storing.record_checkpoint(
                locked, stored, step=step, origin=origin, sound=sound
            )
            step = artifact.step or 0
            # A stopped training may save at a step without metrics.
            if step > locked.step and not damage:
                progress.report_progress(locked, step=step, total_steps=locked.total_steps)
            is_rewritten = before is not None and not declarations.is_ingested(checkpoint, before)
            _log_checkpoint(
                locked, checkpoint, artifact, is_rewritten=is_rewritten, is_same=same is not None
            )
            entry = declarations.entry(checkpoint, step)
            notes["checkpoints"] = {**known, checkpoint.saved_as: entry}
            if rewritten := notes.get("rewritten"):
                notes["rewritten"] = {
                    path: times for path, times in rewritten.items() if path != checkpoint.saved_as
                }
            write_notes(locked, self.attempt, notes)

    def _copy(self, checkpoint: FoundCheckpoint, step: int) -> StoredFile:
        """Raises Changed, OSError (FileNotFoundError if it was pruned), StorageError, LeaseLost."""
        version, suffix = checkpoint.version(self.attempt.number), checkpoint.suffix
        with checkpoint.content() as content:
            with transaction.atomic():
                locked = Run.objects.lock_held_by(self.worker, self.run.pk)
                storing.announce_checkpoint(locked, step=step, version=version, suffix=suffix)
            return storing.put_checkpoint(
                self.run,
                content,
                step=step,
                version=version,
                suffix=suffix,
                expected_bytes=checkpoint.size_bytes,
            )

    def _note_rewritten(self, checkpoint: FoundCheckpoint) -> None:
        """Say once that a checkpoint is never stored because it always changes meanwhile."""
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            notes = notes_of(locked, self.attempt)
            rewritten = notes.get("rewritten", {})
            times = rewritten.get(checkpoint.saved_as, 0) + 1
            if times > MAX_REWRITTEN:
                return
            rewritten = {**rewritten, checkpoint.saved_as: times}
            write_notes(locked, self.attempt, {**notes, "rewritten": rewritten})
            if times == MAX_REWRITTEN:
                text = (
                    f"{checkpoint.shown_as} is written again whenever it is being stored, so that "
                    "it is not: save under another name and rename it, or save less often."
                )
                appending.append_log(locked, [Line.new(text, LogLevel.WARNING, "trainhub")])

    def _correct_step(
        self, checkpoint: FoundCheckpoint, damage: Text, before: list[int] | None, step: int
    ) -> bool:
        """Give what was ingested before it was declared the declared step; False if its bytes are
        needed for that. ``before``: its entry in the notes."""
        if before is None or not declarations.is_ingested(checkpoint, before):
            return False
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            notes = notes_of(locked, self.attempt).copy()
            known = notes.get("checkpoints", {})
            guess = declarations.step_of(before)
            origin = Origin(checkpoint.saved_as, checkpoint.layout, damage)
            artifact = storing.move_to_step(locked, origin, guess=guess, step=step)
            if artifact is None:
                return False
            if locked.step == guess:  # the guess was taken for the run's step
                reported = recording.step_at(locked, unix_milliseconds(time.time()))
                locked.change(step=max(step, reported))
            text = (
                f"{checkpoint.shown_as} is the checkpoint {artifact.pk} of step {step}, as it is "
                "declared."
            )
            appending.append_log(locked, [Line.new(text, LogLevel.INFO, "trainhub")])
            entry = declarations.entry(checkpoint, step)
            notes["checkpoints"] = {**known, checkpoint.saved_as: entry}
            write_notes(locked, self.attempt, notes)
        return True

    def _ingest_others(self, found: Scan) -> None:
        """Keep the files next to the checkpoints, such as a README or a tokenizer, as they are; and
        the results of an evaluation harness."""
        notes = self._notes()
        if notes.get("others"):
            return
        problems = store_others(self.run, found)
        folder, owner = self.attempt.folder, self.attempt.owner
        problems += store_harness_results(self.run, folder, owner=owner)
        problems += declarations.missing(notes, found)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            write_notes(locked, self.attempt, {**notes_of(locked, self.attempt), "others": True})
            lines = [Line.new(text, LogLevel.WARNING, "trainhub") for text in problems]
            appending.append_log(locked, lines)

    def _ingest_events(self, *, at_end: bool) -> None:
        current = Run.objects.get(pk=self.run.pk)
        points = point_count(current)
        written = current.executor_state.get("event_points")
        if points == written or not (at_end or events_due(current)):
            return
        self._check_lease()
        stored = put_events(current)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(self.worker, self.run.pk)
            storing.record_events(locked, stored)
            locked.change(executor_state={**locked.executor_state, "event_points": points})

    def _notes(self) -> AttemptNotes:
        run = Run.objects.only("executor_state").get(pk=self.run.pk)
        return notes_of(run, self.attempt)


def _note_replaced(notes: AttemptNotes) -> list[Line]:
    """metrics.jsonl is read from its start again, and may repeat what it had before."""
    notes["metric_lines"] = 0
    notes["metrics_replaced"] = True
    said = notes.get("said", [])
    if "replaced" in said:
        return []
    notes["said"] = [*said, "replaced"]
    text = "metrics.jsonl was written anew: it is read from its start again."
    return [Line.new(text, LogLevel.WARNING, "metrics")]


def _note_unreadable(notes: AttemptNotes, why: str) -> list[Line]:
    said = notes.get("said", [])
    if "unreadable" in said:
        return []
    notes["said"] = [*said, "unreadable"]
    text = f"metrics.jsonl cannot be read: {why}."
    return [Line.new(text, LogLevel.WARNING, "metrics")]


def _ingest_metrics(run: Run, raw: list[bytes], notes: AttemptNotes) -> list[Line]:
    """Store the points of the next lines; return log lines about what cannot be taken."""
    if not raw:
        return []
    read, said = notes.get("metric_lines", 0), notes.get("said", [])
    report = metric_report(raw, first_line=read + 1, said=said)
    try:
        points = event_files.without_taken(run, report.points, notes)
        if notes.get("metrics_replaced"):
            points = recording.without_known(run, points)
        recording.record_metrics(run, recording.in_order_of_report(run, points))
    except TooManyMetrics as error:  # logged; the training continues
        if "too_many" not in said:
            problem = Problem("too_many", f"metrics.jsonl: {in_english(words_of(error))}")
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


def _log_checkpoint(
    run: Run,
    checkpoint: FoundCheckpoint,
    artifact: Artifact,
    *,
    is_rewritten: bool,
    is_same: bool,
) -> None:
    """Say in the run's log what its reader could not know otherwise."""
    path, named = checkpoint.shown_as, f"checkpoint {artifact.pk} of step {artifact.step}"
    lines = []
    if artifact.damage:
        why = in_english(artifact.damage)
        text = f"The checkpoint {path} ({artifact.pk}) is damaged: {why}."
        lines.append(Line.new(text, LogLevel.WARNING, "trainhub"))
    elif is_same:
        text = f"{path} has the content of {named}."
        lines.append(Line.new(text, LogLevel.INFO, "trainhub"))
    elif is_rewritten:
        text = f"{path} was written again: it is now {named}."
        lines.append(Line.new(text, LogLevel.INFO, "trainhub"))
    if checkpoint.skipped_links:
        links = ", ".join(checkpoint.skipped_links)
        text = f"Links in {path} that cannot be followed: {links}."
        lines.append(Line.new(text, LogLevel.WARNING, "trainhub"))
    appending.append_log(run, lines)


def encoding_of(run: Run) -> str:
    return (run.recipe and run.recipe.encoding) or DEFAULT_ENCODING
