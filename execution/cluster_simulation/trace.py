"""The jobs of a simulated cluster, and reading them from CSV."""

from __future__ import annotations

import csv
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

from runs.models import MAX_GPUS, MAX_PRIORITY, MIN_PRIORITY

EVALUATION: Final = "evaluation"
LONGEST_SECONDS: Final = 366 * 86_400.0


class Ending(enum.StrEnum):
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """``seconds``: how long it works until it ends by itself; ``planned_seconds``: how long it
    would work if it completed, which its steps tell; both without interruptions."""

    submitted: float  # seconds since the beginning
    gpu_count: int
    seconds: float
    planned_seconds: float
    kind: str = "other"
    project: str = "default"
    owner: str = ""
    priority: int = 0
    preemptible: bool = False
    ending: Ending = Ending.COMPLETED

    @property
    def gpu_seconds(self) -> float:
        return self.gpu_count * self.seconds

    def without_priority(self) -> Job:
        """As those see it who start whoever came first."""
        return replace(self, priority=0, preemptible=False)


class BadTrace(Exception):
    """The file cannot be read as a trace. The message is for the user."""


# Our column -> the names that it has in published traces.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "submitted": ("submitted", "submitted_at", "submit_time", "creation_time"),
    "started": ("started", "started_at", "start_time", "scheduled_time"),
    "ended": ("ended", "ended_at", "end_time", "deletion_time"),
    "seconds": ("seconds", "duration", "duration_seconds"),
    "planned_seconds": ("planned_seconds", "time_limit"),
    "gpus": ("gpus", "gpu_count", "gpu_num", "num_gpu"),
    "kind": ("kind", "type", "qos"),
    "project": ("project", "user", "vc"),
    "owner": ("owner",),
    "priority": ("priority",),
    "preemptible": ("preemptible",),
    "ending": ("ending", "state", "pod_phase"),
}
_ENDINGS: Final = {
    "completed": Ending.COMPLETED,
    "succeeded": Ending.COMPLETED,
    "running": Ending.COMPLETED,
    "cancelled": Ending.CANCELLED,
    "canceled": Ending.CANCELLED,
    "killed": Ending.CANCELLED,
    "failed": Ending.FAILED,
    "timeout": Ending.FAILED,
    "node_fail": Ending.FAILED,
}


def read_trace(path: Path) -> list[Job]:
    """The jobs that need GPUs, by submission. Raises BadTrace, OSError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            jobs = list(_jobs(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadTrace(f"{path} is no CSV file: {error}") from None
    if not jobs:
        raise BadTrace(f"{path} has no job that needs a GPU.")
    first = min(job.submitted for job in jobs)
    return sorted(
        (_moved(job, -first) for job in jobs), key=lambda job: (job.submitted, job.gpu_count)
    )


def _jobs(file: TextIO) -> Iterable[Job]:
    reader = csv.DictReader(file)
    columns = _columns(reader.fieldnames or ())
    for number, row in enumerate(reader, start=2):
        try:
            job = _job({name: (row[column] or "").strip() for name, column in columns.items()})
        except ValueError as error:
            raise BadTrace(f"Line {number}: {error}.") from None
        if job is not None:
            yield job


def _columns(fields: Iterable[str]) -> dict[str, str]:
    known = {field.strip().casefold(): field for field in fields}
    found = {
        name: known[alias]
        for name, aliases in COLUMNS.items()
        for alias in reversed(aliases)
        if alias in known
    }
    missing = {"submitted", "gpus"} - found.keys()
    if "seconds" not in found and not {"started", "ended"} <= found.keys():
        missing.add("seconds (or started and ended)")
    if missing:
        raise BadTrace(f"The first line lacks columns: {', '.join(sorted(missing))}.")
    return found


def _job(row: Mapping[str, str]) -> Job | None:
    """None for a job without GPUs, or that never started."""
    gpus = round(_number(row, "gpus", 0.0))
    seconds = _seconds(row)
    if gpus <= 0 or seconds is None:
        return None
    if gpus > MAX_GPUS:
        raise ValueError(f"{gpus} GPUs are more than {MAX_GPUS}")
    priority = round(_number(row, "priority", 0.0))
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(f"the priority {priority} is not from {MIN_PRIORITY} to {MAX_PRIORITY}")
    return Job(
        submitted=_time(row["submitted"]),
        gpu_count=gpus,
        seconds=seconds,
        planned_seconds=max(seconds, _number(row, "planned_seconds", seconds)),
        kind=row.get("kind") or "other",
        project=row.get("project") or "default",
        owner=row.get("owner", ""),
        priority=priority,
        preemptible=row.get("preemptible", "").casefold() in {"1", "true", "yes"},
        ending=_ENDINGS.get(row.get("ending", "").casefold(), Ending.COMPLETED),
    )


def _seconds(row: Mapping[str, str]) -> float | None:
    """How long it worked; None: never."""
    if row.get("seconds"):
        seconds = _number(row, "seconds", 0.0)
    elif row.get("started") and row.get("ended"):
        seconds = _time(row["ended"]) - _time(row["started"])
    else:
        return None
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"a duration of {seconds} s")
    return max(1.0, seconds)


def _number(row: Mapping[str, str], name: str, default: float) -> float:
    text = row.get(name, "")
    number = float(text) if text else default
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"{name} is {text}")
    return number


def _time(text: str) -> float:
    """Seconds, or ISO 8601."""
    try:
        number = float(text)
    except ValueError:
        number = datetime.fromisoformat(text).timestamp()
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"the time {text}")
    return number


def _moved(job: Job, by: float) -> Job:
    return replace(job, submitted=job.submitted + by)
