"""A training that is computed, not trained: the state of the work is the run's rows.

Each poll advances the loop by the steps that are due and commits points, log lines, progress and
checkpoints in one transaction. So the last commit is as good as a checkpoint: a worker that dies
in between leaves nothing to take back, and the next one goes on with the very next step.
"""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from runs import ingestion
from runs.executors.base import CannotStart, Executor, Observation, Work
from runs.ingestion import Line
from runs.models import LogLevel, Run, Worker
from runs.outputs import events_due, point_count, store_configuration, store_events
from runs.points import Point
from runs.simulation import Training, planned_steps

if TYPE_CHECKING:
    from artifacts.models import Artifact

# A worker that was away does not fast-forward: it goes on from now.
MAX_CATCH_UP_SECONDS = 2.0
# Weights that stand for the real ones: enough bytes to be worth a checksum.
CHECKPOINT_BYTES = 64 * 1024
SOURCE = "simulated"


class SimulatedExecutor(Executor):
    in_database = True

    def __init__(self, *, steps_a_poll: int | None = None) -> None:
        """``steps_a_poll``: advance by exactly so many steps a poll instead of by the clock."""
        self.steps_a_poll = steps_a_poll

    def planned_steps(self, hyperparameters: dict[str, Any]) -> int:
        return planned_steps(hyperparameters)

    def start(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            state = locked.executor_state
            if state.get("attempt") == locked.attempt:
                return
            if "start_effort" not in state:
                state = {"start_effort": _effort_of(locked.resumed_from)}
                ingestion.append_log(locked, [_starting_line(locked)])
                store_configuration(locked)
                store_events(locked)
            state = {**state, "attempt": locked.attempt, "advanced_at": time.time()}
            state.pop("ended", None)
            locked.change(executor_state=state)

    def poll(self, run: Run, worker: Worker) -> Observation:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            state = locked.executor_state
            if state.get("attempt") != locked.attempt:
                return Observation(Work.ABSENT)
            if "ended" in state:
                return _ending(state["ended"])
            training = _training(locked)
            steps, advanced_at = self._due(state["advanced_at"])
            last = min(locked.step + steps, training.total_steps)
            observation = _advance(locked, training, last)
            changes: dict[str, Any] = {"advanced_at": advanced_at}
            if observation.work is not Work.WORKING:
                changes["ended"] = _note_of(observation)
            locked.change(executor_state={**locked.executor_state, **changes})
            return observation

    def _due(self, advanced_at: float) -> tuple[int, float]:
        """How many steps are due, and the time up to which they reach (Unix seconds)."""
        now = time.time()
        if self.steps_a_poll is not None:
            return self.steps_a_poll, now
        # A clock that was set back makes no steps undone.
        since = min(max(advanced_at, now - MAX_CATCH_UP_SECONDS), now)
        speed = settings.SIMULATION_STEPS_PER_SECOND
        steps = int((now - since) * speed)
        return steps, since + steps / speed

    def stop(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if "ended" not in locked.executor_state:
                _store_checkpoint(locked, _training(locked), locked.step)
                _end(locked, Observation(Work.STOPPED))

    def kill(self, run: Run, worker: Worker) -> None:
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if "ended" not in locked.executor_state:
                _end(locked, Observation(Work.DIED))

    def final_checkpoint(self, run: Run, verified: Artifact | None) -> Artifact | None:
        """A checkpoint at the very step the run is at, step 0 if it never started.

        None if it never started and what it should have gone on from is damaged.
        """
        try:
            training = _training(run)
        except CannotStart:
            return None
        return _store_checkpoint(run, training, run.step)


def _end(run: Run, observation: Observation) -> None:
    run.change(executor_state={**run.executor_state, "ended": _note_of(observation)})


def _note_of(observation: Observation) -> dict[str, Any]:
    """How the attempt ended, for a worker that asks once more."""
    return {**asdict(observation), "work": observation.work.name}


def _ending(note: dict[str, Any]) -> Observation:
    return Observation(Work[note["work"]], note["reason"], note["exit_code"])


def _training(run: Run) -> Training:
    state = run.executor_state
    effort = state["start_effort"] if "start_effort" in state else _effort_of(run.resumed_from)
    return Training.configured(
        run.hyperparameters,
        task_type=run.project.task_type,
        start_step=run.start_step,
        start_effort=effort,
    )


def _effort_of(checkpoint: Artifact | None) -> float:
    """What the training that ``checkpoint`` holds had learned (0.0 from nothing, or from a file
    that another executor wrote). Raises CannotStart if it is damaged."""
    if checkpoint is None:
        return 0.0
    problem = checkpoint.problem()
    if problem is not None:
        raise CannotStart(
            _("The checkpoint %(id)s is damaged: %(problem)s.")
            % {"id": checkpoint.pk, "problem": problem}
        )
    with checkpoint.open() as file:
        header = file.readline(4096)
    try:
        return float(json.loads(header)["effort"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _advance(run: Run, training: Training, last: int) -> Observation:
    """Make the steps after ``run.step`` up to ``last``, and say how the work then stands."""
    points: list[Point] = []
    lines: list[Line] = []
    made: list[int] = []  # the sound steps
    burst: int | None = None
    for step in range(run.step + 1, last + 1):
        loss = training.loss_at(step)
        points += _points(training, step, loss)
        if not math.isfinite(loss):
            lines.append(_line(f"第 {step} 步 - loss=nan，训练发散", LogLevel.ERROR))
            burst = last = step
            break
        made.append(step)
        lines += _lines(training, step, loss)
    finished = burst is None and last >= training.total_steps
    if finished:
        lines.append(_line(f"训练完成，共 {training.total_steps} 步"))

    ingestion.record_metrics(run, points)
    ingestion.append_log(run, lines)
    ingestion.report_progress(run, step=last, total_steps=training.total_steps)
    saved = _store_artifacts(run, training, made)
    if finished or burst is not None or (saved and events_due(run)):
        _write_events(run)
    if burst is not None:
        reason = _("The loss is not a number after step %(step)d: the training diverged.")
        return Observation(Work.FAILED, reason=reason % {"step": burst}, exit_code=1)
    if finished:
        return Observation(Work.FINISHED, exit_code=0)
    return Observation(Work.WORKING)


def _lines(training: Training, step: int, loss: float) -> Iterator[Line]:
    if step % training.logging_steps == 0 or step == training.total_steps:
        yield _line(f"第 {step} 步 - loss={loss:.2f} lr={training.rate_at(step):.2g}")
    if _evaluates(training, step):
        scores = training.evaluation_at(step).items()
        yield _line(f"第 {step} 步评估 - {' '.join(f'{key}={value:g}' for key, value in scores)}")
    if _saves(training, step):
        yield _line(f"第 {step} 步 - 已保存检查点")


def _points(training: Training, step: int, loss: float) -> list[Point]:
    now_ms = time.time_ns() // 1_000_000
    values = {
        "learning_rate": training.rate_at(step),
        ingestion.GPU_UTILIZATION: training.gpu_utilization_at(step),
    }
    if _evaluates(training, step) and math.isfinite(loss):
        values.update(training.evaluation_at(step))
    values["train_loss"] = loss if math.isnan(loss) else round(loss, 4)
    return [Point(key, step, value, now_ms) for key, value in values.items()]


def _evaluates(training: Training, step: int) -> bool:
    return step % training.eval_steps == 0 or step == training.total_steps


def _saves(training: Training, step: int) -> bool:
    return step % training.save_steps == 0 or step == training.total_steps


def _store_artifacts(run: Run, training: Training, made: list[int]) -> bool:
    """Store the checkpoints and the newest evaluation among the steps just made; whether there
    were checkpoints."""
    evaluated = [step for step in made if _evaluates(training, step)]
    if evaluated:
        result = {"step": evaluated[-1], **training.evaluation_at(evaluated[-1])}
        content = json.dumps(result, ensure_ascii=False, indent=2).encode()
        run.artifacts.store_evaluation(run, io.BytesIO(content), step=evaluated[-1])
    saved = [step for step in made if _saves(training, step)]
    for step in saved:
        _store_checkpoint(run, training, step)
    return bool(saved)


def _write_events(run: Run) -> None:
    store_events(run)
    run.change(executor_state={**run.executor_state, "event_points": point_count(run)})


def _store_checkpoint(run: Run, training: Training, step: int) -> Artifact:
    """A line of JSON that a resumed run reads, then bytes in the place of weights."""
    header = {"step": step, "effort": training.effort_at(step)}
    weights = random.Random(f"{training.seed}/weights/{step}").randbytes(CHECKPOINT_BYTES)
    content = json.dumps(header).encode() + b"\n" + weights
    artifact: Artifact = run.artifacts.store_checkpoint(
        run, io.BytesIO(content), step=step, suffix=".pt"
    )
    return artifact


def _line(message: str, level: str = LogLevel.INFO) -> Line:
    return Line(message, level, SOURCE, datetime.now(UTC))


def _starting_line(run: Run) -> Line:
    gpus = f"，{run.gpu_type} × {run.gpu_count}" if run.gpu_count else ""
    if run.resumed_from is not None:
        return _line(f"从{run.resumed_from.name}继续训练，第 {run.start_step} 步{gpus}")
    return _line(f"开始训练 {run.model or '模型'}，数据集 {run.dataset or '默认'}{gpus}")
