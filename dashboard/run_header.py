"""What the top of every page of a run tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from artifacts.models import Artifact
from execution.scheduling.explanation import Explanation, explain
from metrics.key_metrics import KeyMetric, key_metrics
from metrics.throughput import Throughput, throughput
from metrics.time_left import TimeLeft, time_left
from runs.descriptions import note_of, own_tags
from runs.held_time import held_so_far
from runs.models import Run, RunEvent
from runs.status import RunStatus
from sweeps.models import SweepTrial


@dataclass(frozen=True, slots=True)
class RunHeader:
    """``explanation``: why it waits, if it does; ``held``: the time that workers have held the run;
    ``gpu_hours``: None if it has no GPUs that are known; ``latest_checkpoint``: from which it can
    be resumed, if it has ended; ``trial``: which of a sweep it is."""

    explanation: Explanation | None
    time_left: TimeLeft | None
    throughput: Throughput | None
    key_metrics: list[KeyMetric]
    held: timedelta
    gpu_hours: float | None
    newest_event: RunEvent | None
    latest_checkpoint: Artifact | None
    note: str
    trial: SweepTrial | None
    tags: dict[str, str]


def run_header(run: Run) -> RunHeader:
    held = held_so_far(run, timezone.now()) or timedelta()
    can_be_resumed = run.is_terminal and not run.project.is_archived
    events = run.events.select_related("actor", "worker").order_by("-id")
    return RunHeader(
        explanation=explain(run) if waits(run) else None,
        time_left=time_left(run),
        throughput=throughput(run),
        key_metrics=key_metrics(run),
        held=held,
        gpu_hours=held / timedelta(hours=1) * run.gpu_count if run.gpu_count else None,
        newest_event=events.first(),
        latest_checkpoint=(
            Artifact.objects.checkpoints_of(run).first() if can_be_resumed else None
        ),
        note=note_of(run),
        trial=SweepTrial.objects.filter(run=run).select_related("sweep").first(),
        tags=own_tags(run),
    )


def run_context(run: Run, tab: str) -> dict[str, Any]:
    """What templates/runs/_header.html shows. ``tab``: that of the page."""
    return {"run": run, "project": run.project, "header": run_header(run), "tab": tab}


def waits(run: Run) -> bool:
    """Whether the run waits for a worker."""
    is_waiting = run.status in {RunStatus.QUEUED, RunStatus.RUNNING} and run.worker_id is None
    return is_waiting and not run.is_unmanaged
