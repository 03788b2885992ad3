"""What every run leaves behind whatever executes it: its configuration and its event file."""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from runs.models import MetricPoint, Run

if TYPE_CHECKING:
    from artifacts.models import Artifact

logger = logging.getLogger(__name__)


def configuration(run: Run) -> dict[str, Any]:
    """What a training needs to know of its run; the text of its configuration file."""
    return {
        "run_id": run.pk,
        "run_name": run.name,
        "project_id": run.project_id,
        "project_version": run.project_version,
        "task_type": run.project.task_type,
        "recipe": run.recipe_id,
        "model": run.model,
        "dataset": run.dataset,
        "hyperparameters": run.hyperparameters,
        "resources": run.resources,
        "resumed_from": run.resumed_from_id,
    }


def configuration_bytes(run: Run) -> bytes:
    return json.dumps(configuration(run), ensure_ascii=False, indent=2).encode() + b"\n"


def store_configuration(run: Run) -> Artifact:
    artifact: Artifact = run.artifacts.store_config(run, io.BytesIO(configuration_bytes(run)))
    return artifact


def store_events(run: Run) -> Artifact:
    """Write the run's metrics so far as a TensorBoard event file.

    https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        for event in _events(run):
            writer.write(event.SerializeToString())
        writer.close()
        with path.open("rb") as content:
            artifact: Artifact = run.artifacts.store_events(run, content)
    return artifact


def _events(run: Run) -> Iterator[Event]:
    # The reader takes the first event for the file's header; its time is the curve's origin.
    yield Event(wall_time=(run.started_at or run.created_at).timestamp(), file_version="brain.Event:2")
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
    """TensorBoard's scalars are 32-bit; what is too large for one is infinite there."""
    if math.isfinite(value) and abs(value) > 3.4028234e38:
        return math.copysign(math.inf, value)
    return value


def latest_sound_checkpoint(run: Run, *, own: bool = False) -> Artifact | None:
    """The newest checkpoint whose stored bytes are what was recorded.

    ``own``: of this run only, not the one it was resumed from. A damaged one is passed over, and
    said in the log.
    """
    for checkpoint in run.checkpoints():
        if own and checkpoint.run_id != run.pk:
            continue
        problem = checkpoint.problem()
        if problem is None:
            return checkpoint
        logger.error("checkpoint %s of run %s is unusable: %s", checkpoint.pk, run.pk, problem)
    return None
