"""The artifacts that every executor stores for a run: its configuration and its event file."""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Sum
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from artifacts import storing
from artifacts.blobs import StoredFile
from artifacts.models import Artifact
from metrics.models import MetricPoint
from runs.models import Run


def configuration(run: Run) -> dict[str, Any]:
    """What a training needs to know about its run; the content of its configuration file."""
    return {
        "run_id": run.pk,
        "run_name": run.name,
        "project_id": run.project_id,
        "project_version": run.project_version,
        "task_type": run.project.task_type,
        "recipe": run.recipe_id,
        "model": run.model,
        "dataset": run.dataset,
        "hyperparameters": run.configured_hyperparameters,
        "resources": run.resources,
        "resumed_from": run.resumed_from_id,
    }


def configuration_bytes(run: Run) -> bytes:
    return json.dumps(configuration(run), ensure_ascii=False, indent=2).encode() + b"\n"


def store_configuration(run: Run) -> Artifact:
    artifact: Artifact = storing.store_config(run, io.BytesIO(configuration_bytes(run)))
    return artifact


def put_events(run: Run) -> StoredFile:
    """Store the run's metrics so far as a TensorBoard event file. Does not need the run's row lock;
    the caller records the artifact.

    https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        for event in _events(run):
            writer.write(event.SerializeToString())
        writer.close()
        with path.open("rb") as content:
            stored: StoredFile = storing.put_events(run, content)
    return stored


def store_events(run: Run) -> Artifact:
    """Store and record the event file with the run's row locked; for runs with few points."""
    artifact: Artifact = storing.record_events(run, put_events(run))
    return artifact


def events_due(run: Run) -> bool:
    """Whether the points have grown by a quarter since the event file was written: rewriting it at
    every checkpoint would take quadratic time for a long run."""
    written: int = run.executor_state.get("event_points", 0)
    return point_count(run) >= max(1, 1.25 * written)


def point_count(run: Run) -> int:
    total: int | None = run.series.aggregate(total=Sum("count"))["total"]
    return total or 0


def _events(run: Run) -> Iterator[Event]:
    # Readers treat the first event as the file's header; its time is the origin of the curves.
    started_at = run.started_at or run.created_at
    yield Event(wall_time=started_at.timestamp(), file_version="brain.Event:2")
    points = (
        MetricPoint.objects.filter(series__run=run)
        .order_by("step", "timestamp_ms", "series__key")
        .values_list("series__key", "step", "timestamp_ms", "value")
    )
    for key, step, timestamp_ms, value in points.iterator():
        yield Event(
            wall_time=timestamp_ms / 1000,
            step=step,
            summary=Summary(value=[Summary.Value(tag=key, simple_value=_float32(value))]),
        )


def _float32(value: float) -> float:
    """TensorBoard's scalars are 32-bit; larger values become infinite."""
    if math.isfinite(value) and abs(value) > 3.4028234e38:
        return math.copysign(math.inf, value)
    return value
