"""A command on the worker's host.

The training-script contract: a script prints (log lines), appends flat JSON objects to
``$TRAINHUB_METRICS_FILE`` (metrics), writes whole files into ``$TRAINHUB_CHECKPOINT_DIR``, starts
from ``$TRAINHUB_RESUME_FROM`` when that is set, and on SIGTERM saves and exits.

Each attempt has a directory, ``<data>/runs/<run>/attempt-<n>``, and a launcher (launcher.py) that
outlives the worker; what is true of the process is read from the files there and from the
operating system. What has been taken in of them is in the run's ``executor_state``, committed
together with the lines and points themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from runs import ingestion
from runs.executors import launcher
from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.executors.output import log_lines, metric_report, read_whole_lines
from runs.ingestion import Line
from runs.models import EventKind, LogLevel, Run, Worker
from runs.outputs import (
    configuration_bytes,
    latest_sound_checkpoint,
    store_configuration,
    store_events,
)

if TYPE_CHECKING:
    from artifacts.models import Artifact

# A checkpoint that is still being written under its final name grows: it is left alone until it
# has been still for so long, or its process has ended.
SETTLED_SECONDS = 1.0
# How long a launcher may take to begin before its attempt counts as dead.
LAUNCH_SECONDS = 15.0
# Ours and the database's secrets are not the training's business.
HIDDEN = re.compile(r"TRAINHUB_|DJANGO_|DATABASE_URL\Z")

FinishedStates = frozenset({Work.FINISHED, Work.FAILED, Work.STOPPED, Work.DIED})


class ProcessExecutor(Executor):
    def planned_steps(self, hyperparameters: dict[str, Any]) -> int | None:
        return hyperparameters.get("max_steps")

    # --- start -------------------------------------------------------------------------------

    def start(self, run: Run, worker: Worker) -> None:
        directory = attempt_directory(run)
        if (directory / "launch.json").exists():
            launch(directory)  # a launcher that is already there stays the only one
            return
        self._end_earlier_attempts(run, worker)
        checkpoint = self._go_back_to_checkpoint(run, worker)
        # Made aside and renamed: an attempt's directory is there whole or not at all.
        draft = directory.with_name(f".{directory.name}")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "checkpoints").mkdir(parents=True)
        (draft / "config.json").write_bytes(configuration_bytes(run))
        if checkpoint is not None:
            fetch(checkpoint, draft / "resume" / checkpoint.file_name)
        description = {
            "command": command_of(run),
            "environment": environment_of(run, directory, checkpoint),
        }
        launcher.write_whole(draft / "launch.json", description)
        draft.rename(directory)
        launch(directory)

    def _end_earlier_attempts(self, run: Run, worker: Worker) -> None:
        """An attempt of a worker that died may still train here: end it, and take in its rest."""
        for number in range(1, run.attempt):
            directory = attempt_directory(run, number)
            if directory.exists():
                kill_attempt(directory)
                while self._take_in(run, worker, number, ended=True):
                    pass

    def _go_back_to_checkpoint(self, run: Run, worker: Worker) -> Artifact | None:
        """The checkpoint to start from; the run is taken back to its step, in one transaction."""
        checkpoint = latest_sound_checkpoint(run)
        step = checkpoint.step or 0 if checkpoint is not None else 0
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if locked.executor_state.get("attempt") == locked.attempt:
                return checkpoint
            if not locked.executor_state:
                store_configuration(locked)
                store_events(locked)
            elif locked.step > step:
                points = ingestion.rewind(locked, step)
                locked.note(
                    EventKind.REWOUND,
                    worker=worker,
                    reason=_("Back from step %(from)d to %(to)d; %(points)d points taken back.")
                    % {"from": locked.step, "to": step, "points": points},
                )
            locked.change(executor_state={**locked.executor_state, "attempt": locked.attempt})
        return checkpoint

    # --- poll --------------------------------------------------------------------------------

    def poll(self, run: Run, worker: Worker) -> Observation:
        directory = attempt_directory(run)
        if not (directory / "launch.json").exists():
            return Observation(Work.ABSENT)
        # Asked first, read after: what it wrote before it ended is then all there to be read.
        observation = observe(run, directory)
        ended = observation.work in FinishedStates
        while self._take_in(run, worker, run.attempt, ended=ended) and ended:
            pass
        if ended:
            return self._judge(run, observation)
        return observation

    def _take_in(self, run: Run, worker: Worker, attempt: int, *, ended: bool) -> bool:
        """One transaction's worth of output; True if there may be more to read at once."""
        directory = attempt_directory(run, attempt)
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            state = locked.executor_state
            notes: dict[str, Any] = dict(state.get(f"read-{attempt}", {}))
            lines: list[Line] = []
            more = False
            for source in ("stdout", "stderr"):
                offset = notes.get(source, 0)
                raw, notes[source] = read_whole_lines(
                    directory / f"{source}.log", offset, ended=ended
                )
                lines += log_lines(raw, source)
                more = more or notes[source] > offset
            more = self._take_in_metrics(locked, directory, notes, lines, ended=ended) or more
            ingestion.append_log(locked, lines)
            stored = self._take_in_checkpoints(locked, directory, notes, ended=ended)
            self._take_in_evaluation(locked, directory, notes)
            if stored or (ended and not more):
                store_events(locked)
            if notes != state.get(f"read-{attempt}"):
                locked.change(executor_state={**state, f"read-{attempt}": notes})
        return more

    def _take_in_metrics(
        self, run: Run, directory: Path, notes: dict[str, Any], lines: list[Line], *, ended: bool
    ) -> bool:
        offset = notes.get("metrics", 0)
        raw, notes["metrics"] = read_whole_lines(directory / "metrics.jsonl", offset, ended=ended)
        report = metric_report(raw)
        ingestion.record_metrics(run, report.points)
        lines += [Line(problem, LogLevel.WARNING, "metrics") for problem in report.problems]
        if report.step is not None:
            total = report.total_steps or run.total_steps
            ingestion.report_progress(run, step=max(0, report.step), total_steps=total)
        return bool(notes["metrics"] > offset)

    def _take_in_checkpoints(
        self, run: Run, directory: Path, notes: dict[str, Any], *, ended: bool
    ) -> bool:
        """Make artifacts of the checkpoint files that are new or have changed."""
        known: dict[str, list[int]] = dict(notes.get("checkpoints", {}))
        fresh = False
        for path, stamp in checkpoint_files(directory / "checkpoints", ended=ended):
            if known.get(path.name) == stamp:
                continue
            step = step_of(path)
            with path.open("rb") as content:
                run.artifacts.store_checkpoint(
                    run,
                    content,
                    step=run.step if step is None else step,
                    suffix="".join(path.suffixes),
                )
            known[path.name] = stamp
            fresh = True
        notes["checkpoints"] = known
        return fresh

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

    def _judge(self, run: Run, observation: Observation) -> Observation:
        """A script that was asked to stop may well exit with 0: was it done, or did it obey?"""
        if observation.work is not Work.FINISHED or run.stop_requested_at is None:
            return observation
        current = Run.objects.get(pk=run.pk)
        done = current.total_steps is not None and current.step >= current.total_steps
        return observation if done else Observation(Work.STOPPED, exit_code=0)

    # --- stop --------------------------------------------------------------------------------

    def stop(self, run: Run, worker: Worker) -> None:
        directory = attempt_directory(run)
        mark = directory / "stop-sent"
        process = running_process(directory)
        # Once only: many scripts take a second SIGTERM as "without saving".
        if process is not None and not mark.exists():
            mark.touch()
            process.send_signal(signal.SIGTERM)

    def kill(self, run: Run) -> None:
        kill_attempt(attempt_directory(run))

    def forget(self, run: Run) -> None:
        shutil.rmtree(settings.WORK_DIR / run.pk, ignore_errors=True)


# --- the attempt's directory and process -----------------------------------------------------


def attempt_directory(run: Run, number: int | None = None) -> Path:
    directory: Path = settings.WORK_DIR / run.pk / f"attempt-{number or run.attempt}"
    return directory


def command_of(run: Run) -> list[str]:
    """The recipe's command with {python} and {repository} filled in."""
    values = {"{python}": sys.executable, "{repository}": str(settings.BASE_DIR)}
    command = []
    for part in run.recipe.command:
        for placeholder, value in values.items():
            part = part.replace(placeholder, value)
        command.append(part)
    if not command:
        raise CannotStart(_("The recipe has no command."))
    return command


def environment_of(run: Run, directory: Path, checkpoint: Artifact | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not HIDDEN.match(name)}
    ours = {
        "PYTHONUNBUFFERED": "1",  # so that what it prints is seen when it prints it
        "TRAINHUB_RUN_ID": run.pk,
        "TRAINHUB_PROJECT_ID": run.project_id,
        "TRAINHUB_ATTEMPT": str(run.attempt),
        "TRAINHUB_URL": settings.PUBLIC_URL,
        "TRAINHUB_CONFIG": str(directory / "config.json"),
        "TRAINHUB_OUTPUT_DIR": str(directory),
        "TRAINHUB_METRICS_FILE": str(directory / "metrics.jsonl"),
        "TRAINHUB_CHECKPOINT_DIR": str(directory / "checkpoints"),
    }
    if checkpoint is not None:
        ours["TRAINHUB_RESUME_FROM"] = str(directory / "resume" / checkpoint.file_name)
    return {**inherited, **run.recipe.environment, **ours}


def fetch(checkpoint: Artifact, target: Path) -> None:
    """Copy the checkpoint's bytes to ``target``. Raises CannotStart if they have changed since."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with checkpoint.open() as source, target.open("wb") as copy:
        for chunk in source.chunks(1024 * 1024):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != checkpoint.sha256:
        raise CannotStart(_("The checkpoint %(id)s is damaged.") % {"id": checkpoint.pk})


def launch(directory: Path) -> None:
    with (directory / "launcher.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-I", launcher.__file__, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def observe(run: Run, directory: Path) -> Observation:
    """How the attempt's process stands, by what the launcher wrote and the system says."""
    running = running_process(directory) is not None
    exit_note = read_json(directory / "exit.json")
    if exit_note is None:
        if running or _is_launching(directory):
            return Observation(Work.WORKING)
        return Observation(Work.DIED, reason=_("The training process is gone without a trace."))
    returncode = int(exit_note["returncode"])
    if returncode == 0:
        return Observation(Work.FINISHED, exit_code=0)
    if run.stop_requested_at is not None or (directory / "stop-sent").exists():
        return Observation(Work.STOPPED, exit_code=returncode)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        reason = _("The training process was killed by %(signal)s.") % {"signal": name}
        return Observation(Work.DIED, reason=reason, exit_code=returncode)
    reason = _("The training process exited with code %(code)d.") % {"code": returncode}
    return Observation(Work.FAILED, reason=reason, exit_code=returncode)


def _is_launching(directory: Path) -> bool:
    if (directory / "process.json").exists():
        return False
    return time.time() - (directory / "launch.json").stat().st_mtime < LAUNCH_SECONDS


def running_process(directory: Path) -> psutil.Process | None:
    """The training process if it lives; a pid that another program has got since is not it."""
    note = read_json(directory / "process.json")
    if note is None:
        return None
    try:
        process = psutil.Process(note["pid"])
        same = abs(process.create_time() - note["created"]) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def kill_attempt(directory: Path) -> None:
    """End every process of the attempt, and wait until they are gone."""
    process = running_process(directory)
    if process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
    except ProcessLookupError:
        return
    psutil.wait_procs([process], timeout=5)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def checkpoint_files(folder: Path, *, ended: bool) -> Iterator[tuple[Path, list[int]]]:
    """The whole files in ``folder`` in the order of their steps, each with [size, mtime_ns].

    Names that begin with a dot or end in .tmp or .part are still being written.
    """
    try:
        paths = sorted(folder.iterdir(), key=lambda path: (step_of(path) or 0, path.name))
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.startswith(".") or path.suffix in {".tmp", ".part"} or not path.is_file():
            continue
        stat = path.stat()
        if ended or time.time() - stat.st_mtime >= SETTLED_SECONDS:
            yield path, [stat.st_size, stat.st_mtime_ns]


def step_of(path: Path) -> int | None:
    """The step in a checkpoint's name: its last number (``step-00000200.npz`` -> 200)."""
    numbers = re.findall(r"\d+", path.name.partition(".")[0])
    return int(numbers[-1]) if numbers else None
