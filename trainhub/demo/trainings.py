"""Writes a training of the past: as the product would have done it, then moved to its time.

Each function is to be called in a transaction, so that no worker claims a run meanwhile.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.contrib.auth.models import User
from django.utils import timezone

from artifacts import storing
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Text
from execution.outputs import store_configuration
from logs.appending import append_log
from logs.lines import Line
from logs.models import LogLevel
from metrics.points import Points
from metrics.recording import record_points
from projects.models import Project
from runs import actions, unmanaged
from runs.checkpoint import Checkpoint
from runs.models import EventKind, Recipe, Run, StopKind, Worker
from runs.models.held_time_queries import count_held_time
from runs.params_tags import log_params
from runs.status import RunStatus
from runs.system_metrics import PREFIX
from trainhub.demo.curves import Curve, random_of

POINTS_PER_BATCH: Final = 10_000
QUEUED_SECONDS: Final = 40  # before its start
LAYERS: Final = 4  # of the weights that a checkpoint holds


@dataclass(frozen=True)
class Ending:
    """How a run has ended, or that it has not."""

    status: RunStatus = RunStatus.COMPLETED
    reason: Text = ""
    failure_kind: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class LogText:
    """A line that a training prints at ``step``."""

    step: int
    text: str
    level: str = LogLevel.INFO
    rank: int | None = None


@dataclass(frozen=True)
class Training:
    """What is to be told of a run. Its last step is reached when it ends, or now."""

    name: str
    by: User
    started_at: datetime
    finished_at: datetime
    last_step: int
    hyperparameters: Mapping[str, Any]
    curves: Mapping[str, Curve]
    log: Sequence[LogText] = ()
    ending: Ending = field(default_factory=Ending)
    dataset: str = ""
    recipe: Recipe | None = None  # None: of a script elsewhere
    worker: Worker | None = None  # of a run with a recipe
    gpu_type: str = ""
    gpu_count: int = 0
    total_steps: int | None = None
    checkpoints: Sequence[int] = ()  # their steps
    evaluation: Mapping[str, float] = field(default_factory=dict)
    resumed_from: Artifact | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_step(self) -> int:
        step = None if self.resumed_from is None else self.resumed_from.step
        return step or 0

    def times(self, steps: Any) -> Any:
        """When it was at ``steps``, in Unix milliseconds."""
        duration_ms = (self.finished_at - self.started_at).total_seconds() * 1000
        share = (np.asarray(steps) - self.first_step) / max(self.last_step - self.first_step, 1)
        started_ms = self.started_at.timestamp() * 1000
        return (started_ms + np.clip(share, 0, 1) * duration_ms).astype(np.int64)

    def time_of(self, step: int) -> datetime:
        return datetime.fromtimestamp(int(self.times(step)) / 1000, UTC)


def write(project: Project, training: Training) -> Run:
    """Create the run with everything that it has reported."""
    run = _started(project, training)
    _record_curves(run, training)
    run = Run.objects.lock(run.pk)
    append_log(run, _lines(training))
    if training.recipe is not None:
        store_configuration(run)
    for step in training.checkpoints:
        _store_checkpoint(run, training, step)
    if training.evaluation:
        result = {"step": training.last_step, **training.evaluation}
        content = json.dumps(result, indent=2).encode()
        storing.store_evaluation(run, io.BytesIO(content), step=training.last_step)
    _end(run, training)
    _move_to_its_time(run, training)
    run.refresh_from_db()
    return run


def _started(project: Project, training: Training) -> Run:
    if training.recipe is None:
        run = unmanaged.create_unmanaged_run(
            project,
            by=training.by,
            name=training.name,
            tags=dict(training.tags),
            started_at=training.started_at,
        )
        log_params(run.pk, {key: str(value) for key, value in training.hyperparameters.items()})
        run.refresh_from_db()
        run.change(
            total_steps=training.total_steps,
            dataset=training.dataset,
            gpu_type=training.gpu_type,
            gpu_count=training.gpu_count,
        )
        return run
    given: dict[str, Any] = {
        "by": training.by,
        "name": training.name,
        "dataset": training.dataset,
        "hyperparameters": dict(training.hyperparameters),
        "resources": {"gpu_type": training.gpu_type, "gpu_count": training.gpu_count},
        "recipe": training.recipe,
    }
    origin = training.resumed_from
    if origin is None:
        run = actions.create_run(project, **given)
    else:
        checkpoint = Checkpoint(origin.pk, origin.step or 0)
        run = actions.resume_run(origin.run, checkpoint, **given)
    assert training.worker is not None
    run.claim(training.worker)
    if training.tags:
        run.change(tags=dict(training.tags))
    return run


def _record_curves(run: Run, training: Training) -> None:
    keys: list[str] = []
    columns: list[tuple[Any, Any, Any]] = []
    for key, curve in training.curves.items():
        keys += [key] * len(curve.steps)
        columns.append((curve.steps, _times(training, key, curve), curve.values))
    steps, times, values = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(times, kind="stable")
    for start in range(0, len(order), POINTS_PER_BATCH):
        batch = order[start : start + POINTS_PER_BATCH]
        points = Points.in_columns(
            [keys[number] for number in batch],
            steps[batch].tolist(),
            times[batch].tolist(),
            values[batch].tolist(),
        )
        record_points(run.pk, points)


def _times(training: Training, key: str, curve: Curve) -> Any:
    if not key.startswith(PREFIX):
        return training.times(curve.steps)
    started_ms = training.started_at.timestamp() * 1000
    duration_ms = (training.finished_at - training.started_at).total_seconds() * 1000
    share = np.arange(len(curve.steps)) / max(len(curve.steps), 1)
    return (started_ms + share * duration_ms).astype(np.int64)


def _lines(training: Training) -> list[Line]:
    in_order = sorted(training.log, key=lambda line: line.step)
    return [
        Line.new(line.text, line.level, "train.py", training.time_of(line.step), line.rank)
        for line in in_order
    ]


def _store_checkpoint(run: Run, training: Training, step: int) -> Artifact:
    content = io.BytesIO(_weights(training.name, step))
    artifact = storing.store_checkpoint(run, content, step=step, suffix=".safetensors")
    saved_at = training.time_of(step)
    Artifact.objects.filter(pk=artifact.pk).update(created_at=saved_at, updated_at=saved_at)
    return artifact


def _weights(name: str, step: int) -> bytes:
    """A safetensors file of a few small matrices.

    https://github.com/huggingface/safetensors#format
    """
    rng = random_of(name, step, "weights")
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "step": str(step)}}
    content = b""
    for layer in range(LAYERS):
        for part, shape in (("attention.wq", (64, 64)), ("mlp.w1", (128, 64)), ("norm", (64,))):
            matrix = rng.normal(0, 0.02, shape).astype(np.float16).tobytes()
            place = [len(content), len(content) + len(matrix)]
            entry = {"dtype": "F16", "shape": list(shape), "data_offsets": place}
            header[f"layers.{layer}.{part}.weight"] = entry
            content += matrix
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def _end(run: Run, training: Training) -> None:
    ending = training.ending
    if ending.status == RunStatus.RUNNING:
        return
    if training.recipe is None:
        run.transition(
            ending.status,
            reason=ending.reason,
            failure_kind=ending.failure_kind,
            exit_code=ending.exit_code,
            by=training.by,
        )
    elif ending.status == RunStatus.CANCELLED:
        run.request_stop(StopKind.CANCEL, by=training.by)
        latest = Artifact.objects.checkpoints_of(run).first()
        assert latest is not None
        kept = Checkpoint(latest.pk, latest.step or 0)
        actions.finish_cancel(Run.objects.lock(run.pk), kept, by=training.by)
    else:
        run.transition(
            ending.status,
            reason=ending.reason,
            failure_kind=ending.failure_kind,
            exit_code=ending.exit_code,
        )


def _move_to_its_time(run: Run, training: Training) -> None:
    """Its own row, its events and its files: not its points and lines, which have their times."""
    queued_at = training.started_at
    if training.recipe is not None:
        queued_at -= timedelta(seconds=QUEUED_SECONDS)
    is_over = training.ending.status != RunStatus.RUNNING
    ended_at = training.finished_at if is_over else timezone.now()
    total = training.total_steps or run.total_steps
    step = max(training.last_step, training.first_step)
    progress = min(1.0, step / total) if total else 0.0
    if training.ending.status == RunStatus.COMPLETED:
        progress = 1.0
    Run.objects.filter(pk=run.pk).update(
        step=step,
        total_steps=total,
        progress=progress,
        created_at=queued_at,
        queued_at=queued_at if training.recipe is not None else None,
        started_at=training.started_at,
        attempt_started_at=training.started_at if training.recipe is not None else None,
        finished_at=ended_at if is_over else None,
        reported_at=ended_at,
        stepped_at=ended_at,
        updated_at=ended_at,
    )
    begun = {EventKind.CREATED: queued_at, EventKind.CLAIMED: training.started_at}
    for event in run.events.all():
        run.events.filter(pk=event.pk).update(created_at=begun.get(EventKind(event.kind), ended_at))
    count_held_time(run.pk)
    # Its checkpoints have been moved when they were stored.
    others = Artifact.objects.filter(run=run, updated_at__gt=training.finished_at)
    others.update(created_at=ended_at, updated_at=ended_at)


def queue(project: Project, *, at: datetime, **given: Any) -> Run:
    """A run that waits since ``at``. ``given``: what ``create_run`` takes."""
    run = actions.create_run(project, **given)
    Run.objects.filter(pk=run.pk).update(created_at=at, queued_at=at, updated_at=at)
    run.events.update(created_at=at)
    return run


def tag(checkpoint: Artifact, value: TagValue, *, notes: str, by: User, at: datetime) -> None:
    """Tag a checkpoint at a time in the past."""
    applied = checkpoint.tag(value, notes=notes, by=by)
    type(applied).objects.filter(pk=applied.pk).update(applied_at=at)


def checkpoint_of(run: Run, step: int) -> Artifact:
    found: Artifact = Artifact.objects.checkpoints().select_related("run").get(run=run, step=step)
    return found
