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

from django.db.models import Sum
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from runs.models import MetricPoint, Run

if TYPE_CHECKING:
    from artifacts.models import Artifact, StoredFile

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


def put_events(run: Run) -> StoredFile:
    """Write the run's metrics so far as a TensorBoard event file; the row that names it is up to
    the caller, who need not hold the run's lock for this.

    https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        for event in _events(run):
            writer.write(event.SerializeToString())
        writer.close()
        with path.open("rb") as content:
            stored: StoredFile = run.artifacts.put_events(run, content)
    return stored


def store_events(run: Run) -> Artifact:
    """Both at once, the run's row locked: for runs of little to write."""
    artifact: Artifact = run.artifacts.record_events(run, put_events(run))
    return artifact


def events_due(run: Run) -> bool:
    """Whether the event file lags behind by a quarter: writing it whole at every checkpoint would
    cost the square of a long run's points."""
    written: int = run.executor_state.get("event_points", 0)
    return point_count(run) >= max(1, 1.25 * written)


def point_count(run: Run) -> int:
    total: int | None = run.series.aggregate(total=Sum("count"))["total"]
    return total or 0


def _events(run: Run) -> Iterator[Event]:
    # The reader takes the first event for the file's header; its time is the curve's origin.
    began = run.started_at or run.created_at
    yield Event(wall_time=began.timestamp(), file_version="brain.Event:2")
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


def latest_sound_checkpoint(run: Run) -> Artifact | None:
    """The latest of the run's own checkpoints whose stored bytes are what was recorded.

    It reads those bytes, perhaps gigabytes: not with a row locked. A damaged one is passed over,
    and said in the log.
    """
    for checkpoint in run.checkpoints():
        problem = checkpoint.problem()
        if problem is None:
            return checkpoint
        logger.error("checkpoint %s of run %s is unusable: %s", checkpoint.pk, run.pk, problem)
    return None
