"""A simulated training, whose state is the run's rows.

Each poll advances the training by the steps that are due and commits points, log lines, progress
and checkpoints in one transaction. So the last commit is as good as a checkpoint: after a worker
dies there is nothing to rewind, and the next worker continues with the next step.
"""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from artifacts import storing
from artifacts.checkpoints import resumed_from
from artifacts.models import Artifact
from core.messages import Message, dumps, loads
from execution.executor_state import EndNote
from execution.executors.checkpoint_executor import CheckpointExecutor, checkpoint_of
from execution.executors.simulation import Training, planned_steps
from execution.outputs import events_due, point_count, store_configuration, store_events
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from metrics import recording
from metrics.points import Point
from runs import progress
from runs.checkpoint import Checkpoint
from runs.executors import CannotStart, WorkState, WorkStatus
from runs.models import FailureKind, Run, Worker

# After a longer break, a run does not fast-forward: it continues from now.
MAX_CATCH_UP_SECONDS = 2.0
# The size of the fake weights: enough bytes to be worth a checksum.
CHECKPOINT_BYTES = 64 * 1024
SOURCE = "simulated"


class SimulatedExecutor(CheckpointExecutor):
    in_database = True

    def __init__(self, *, steps_per_poll: int | None = None) -> None:
        """``steps_per_poll``: advance by this many steps per poll instead of by the clock."""
        self.steps_per_poll = steps_per_poll

    def planned_steps(self, hyperparameters: dict[str, Any]) -> int:
        return planned_steps(hyperparameters)

    def start(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            state = locked.executor_state
            if state.get("attempt") == locked.attempt:
                return
            if "start_effort" not in state:
                state = {"start_effort": _effort_of(resumed_from(locked))}
                appending.append_log(locked, [_starting_line(locked)])
                store_configuration(locked)
                store_events(locked)
            state = {**state, "attempt": locked.attempt, "advanced_at": time.time()}
            state.pop("ended", None)
            locked.change(executor_state=state)

    def poll(self, run: Run, worker: Worker) -> WorkStatus:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            state = locked.executor_state
            if state.get("attempt") != locked.attempt:
                return WorkStatus(WorkState.ABSENT)
            if "ended" in state:
                return _ending(state["ended"])
            training = _training(locked)
            steps, advanced_at = self._due(state["advanced_at"])
            last = min(locked.step + steps, training.total_steps)
            work = _advance(locked, training, last)
            changes: dict[str, Any] = {"advanced_at": advanced_at}
            if work.state is not WorkState.WORKING:
                changes["ended"] = _note_of(work)
            locked.change(executor_state={**locked.executor_state, **changes})
            return work

    def _due(self, advanced_at: float) -> tuple[int, float]:
        """How many steps are due, and the time they advance the run to (Unix seconds)."""
        now = time.time()
        if self.steps_per_poll is not None:
            return self.steps_per_poll, now
        # Never a negative number of steps, even if the clock was set back.
        since = min(max(advanced_at, now - MAX_CATCH_UP_SECONDS), now)
        speed = settings.SIMULATION_STEPS_PER_SECOND
        steps = int((now - since) * speed)
        return steps, since + steps / speed

    def stop(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if "ended" not in locked.executor_state:
                _store_checkpoint(locked, _training(locked), locked.step)
                _end(locked, WorkStatus(WorkState.STOPPED))

    def kill(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if "ended" not in locked.executor_state:
                _end(locked, WorkStatus(WorkState.DIED))

    def keep_checkpoint(self, run: Run, latest: Checkpoint | None) -> Checkpoint | None:
        """Store a checkpoint at the run's current step, which is 0 if it never started.

        None if it never started and the checkpoint it was resumed from is damaged.
        """
        try:
            training = _training(run)
        except CannotStart:
            return None
        artifact = _store_checkpoint(run, training, run.step)
        artifact.name_final()
        return checkpoint_of(artifact)


def _end(run: Run, work: WorkStatus) -> None:
    run.change(executor_state={**run.executor_state, "ended": _note_of(work)})


def _note_of(work: WorkStatus) -> EndNote:
    """How the attempt ended, for later polls."""
    return {
        "work": work.state.name,
        "reason": dumps(work.reason),
        "exit_code": work.exit_code,
        "failure_kind": work.failure_kind,
    }


def _ending(note: EndNote) -> WorkStatus:
    return WorkStatus(
        WorkState[note["work"]],
        loads(note["reason"]),
        note["exit_code"],
        note.get("failure_kind", ""),
    )


def _training(run: Run) -> Training:
    state = run.executor_state
    effort = state["start_effort"] if "start_effort" in state else _effort_of(resumed_from(run))
    return Training.configured(
        run.hyperparameters,
        task_type=run.project.task_type,
        start_step=run.start_step,
        start_effort=effort,
    )


def _effort_of(checkpoint: Artifact | None) -> float:
    """The effort of the training in ``checkpoint``; 0.0 without a checkpoint or if another executor
    wrote it. Raises CannotStart if it is damaged."""
    if checkpoint is None:
        return 0.0
    problem = checkpoint.problem()
    if problem is not None:
        raise CannotStart(
            Message(
                "The checkpoint %(id)s is damaged: %(problem)s.", id=checkpoint.pk, problem=problem
            )
        )
    with checkpoint.open() as file:
        header = file.readline(4096)
    try:
        return float(json.loads(header)["effort"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _advance(run: Run, training: Training, last: int) -> WorkStatus:
    """Compute the steps after ``run.step`` up to ``last``, and return the resulting status."""
    points: list[Point] = []
    lines: list[Line] = []
    steps: list[int] = []  # those with a finite loss
    diverged_at: int | None = None
    for step in range(run.step + 1, last + 1):
        loss = training.loss_at(step)
        points += _points(training, step, loss)
        if not math.isfinite(loss):
            lines.append(
                _line(Message("step %(step)d - loss=nan, diverged", step=step), LogLevel.ERROR)
            )
            diverged_at = last = step
            break
        steps.append(step)
        lines += _lines(training, step, loss)
    finished = diverged_at is None and last >= training.total_steps
    if finished:
        lines.append(
            _line(Message("training completed: %(steps)d steps", steps=training.total_steps))
        )

    recording.record_metrics(run, points)
    appending.append_log(run, lines)
    progress.report_progress(run, step=last, total_steps=training.total_steps)
    saved = _store_artifacts(run, training, steps)
    if finished or diverged_at is not None or (saved and events_due(run)):
        _write_events(run)
    if diverged_at is not None:
        return WorkStatus(
            WorkState.FAILED,
            reason=Message(
                "The training diverged: the loss is NaN at step %(step)d.", step=diverged_at
            ),
            exit_code=1,
            failure_kind=FailureKind.DIVERGED,
        )
    if finished:
        return WorkStatus(WorkState.FINISHED, exit_code=0)
    return WorkStatus(WorkState.WORKING)


def _lines(training: Training, step: int, loss: float) -> Iterator[Line]:
    if step % training.logging_steps == 0 or step == training.total_steps:
        rate = f"{training.rate_at(step):.2g}"
        yield _line(
            Message(
                "step %(step)d - loss=%(loss)s lr=%(rate)s",
                step=step,
                loss=f"{loss:.2f}",
                rate=rate,
            )
        )
    if _evaluates(training, step):
        scores = training.evaluation_at(step).items()
        shown = " ".join(f"{key}={value:g}" for key, value in scores)
        yield _line(Message("step %(step)d, evaluation - %(scores)s", step=step, scores=shown))
    if _saves(training, step):
        yield _line(Message("step %(step)d - saved a checkpoint", step=step))


def _points(training: Training, step: int, loss: float) -> list[Point]:
    now_ms = time.time_ns() // 1_000_000
    values = {
        "learning_rate": training.rate_at(step),
        recording.GPU_UTILIZATION: training.gpu_utilization_at(step),
    }
    if _evaluates(training, step) and math.isfinite(loss):
        values.update(training.evaluation_at(step))
    values["train_loss"] = loss if math.isnan(loss) else round(loss, 4)
    return [Point(key, step, value, now_ms) for key, value in values.items()]


def _evaluates(training: Training, step: int) -> bool:
    return step % training.eval_steps == 0 or step == training.total_steps


def _saves(training: Training, step: int) -> bool:
    return step % training.save_steps == 0 or step == training.total_steps


def _store_artifacts(run: Run, training: Training, steps: list[int]) -> bool:
    """Store the checkpoints and the latest evaluation of the steps; return whether there were
    checkpoints."""
    evaluated = [step for step in steps if _evaluates(training, step)]
    if evaluated:
        result = {"step": evaluated[-1], **training.evaluation_at(evaluated[-1])}
        content = json.dumps(result, ensure_ascii=False, indent=2).encode()
        storing.store_evaluation(run, io.BytesIO(content), step=evaluated[-1])
    saved = [step for step in steps if _saves(training, step)]
    for step in saved:
        _store_checkpoint(run, training, step)
    return bool(saved)


def _write_events(run: Run) -> None:
    store_events(run)
    run.change(executor_state={**run.executor_state, "event_points": point_count(run)})


def _store_checkpoint(run: Run, training: Training, step: int) -> Artifact:
    """The file is a line of JSON that a resumed run reads, followed by fake weights."""
    header = {"step": step, "effort": training.effort_at(step)}
    weights = random.Random(f"{training.seed}/weights/{step}").randbytes(CHECKPOINT_BYTES)
    content = json.dumps(header).encode() + b"\n" + weights
    artifact: Artifact = storing.store_checkpoint(run, io.BytesIO(content), step=step, suffix=".pt")
    return artifact


def _line(message: Message, level: str = LogLevel.INFO) -> Line:
    return Line.new(message, level, SOURCE, datetime.now(UTC))


def _starting_line(run: Run) -> Line:
    gpus = f" ({run.gpu_type} × {run.gpu_count})" if run.gpu_count else ""
    origin = resumed_from(run)
    if origin is not None:
        return _line(
            Message(
                "training continues from %(checkpoint)s at step %(step)d%(gpus)s",
                checkpoint=origin.name,
                step=run.start_step,
                gpus=gpus,
            )
        )
    return _line(
        Message(
            "training starts: model %(model)s, dataset %(dataset)s%(gpus)s",
            model=run.model or "–",
            dataset=run.dataset or "–",
            gpus=gpus,
        )
    )
