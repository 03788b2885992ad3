"""How the worker's host is doing, recorded as ``system/…`` metrics of each process that runs there.

Names and units are those of MLflow's client (https://mlflow.org/docs/latest/system-metrics), which
a script may use itself: then it alone reports.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import psutil
from django.conf import settings
from django.db import transaction

from core.database_errors import outage_of
from execution.devices import DeviceSource, Reading
from execution.executor_state import ExecutorState
from execution.executors.attempt import Attempt
from metrics import recording
from metrics.points import Point
from metrics.recording import GPU_UTILIZATION
from runs.models import LeaseLost, Run, Worker
from runs.system_metrics import PREFIX, mean_gpu_utilization

logger = logging.getLogger(__name__)

MEGABYTE: Final = 1e6
ALWAYS: Final = f"{PREFIX}cpu_utilization_percentage"  # in every sample

Values = dict[str, float]


@dataclass
class ProcessTimes:
    """What a run's processes had used at a moment."""

    at: float  # monotonic seconds
    cpu: float  # seconds


@dataclass
class Sampler:
    """Measures the host and its runs; shares of CPU time are those since the last sample."""

    source: DeviceSource
    _times: dict[str, ProcessTimes] = field(default_factory=dict)
    # What could not be measured or recorded -> why.
    _problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        psutil.cpu_percent()  # the first call only marks the beginning

    def sample(self, worker: Worker, runs: list[Run]) -> None:
        """Record a sample for each of ``runs`` that ``worker`` holds, with what can be measured.

        Raises what the database raises while it is away: without it, no run can have one.
        """
        if not runs:
            return
        host: Values = {}
        for measure in (cpu_values, memory_values, disk_values):
            with self._surviving(measure.__name__):
                host |= measure()
        readings: list[Reading] = []
        with self._surviving("GPUs"):
            readings = self.source.readings()
        for run in runs:
            with self._surviving(f"run {run.pk}"), contextlib.suppress(LeaseLost):
                values = {**host, **gpu_values(run, readings)}
                with self._surviving(f"processes of run {run.pk}"):
                    values |= self._process_values(run)
                record(run, worker, {PREFIX + name: value for name, value in values.items()})
        held = {run.pk for run in runs}
        self._times = {pk: times for pk, times in self._times.items() if pk in held}

    @contextlib.contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Log an error of ``what``, once each: the rest is measured and recorded all the same."""
        try:
            yield
        except Exception as error:
            if outage_of(error) is not None:
                raise
            why = repr(error)
            if self._problems.get(what) != why:
                logger.warning("no metrics of %s: %s", what, error, exc_info=True)
            self._problems[what] = why
        else:
            self._problems.pop(what, None)

    def _process_values(self, run: Run) -> Values:
        """Of the run's own processes; 100 percent of the CPU is one core, and memory that they
        share counts for each."""
        cpu = memory = 0.0
        for process in Attempt.of(run).tree():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss / MEGABYTE
        values = {"process_memory_usage_megabytes": memory}
        before, now = self._times.get(run.pk), ProcessTimes(time.monotonic(), cpu)
        self._times[run.pk] = now
        if before is not None and now.at > before.at:
            share = max(0.0, now.cpu - before.cpu) / (now.at - before.at)
            values["process_cpu_utilization_percentage"] = 100 * share
        return values


def cpu_values() -> Values:
    return {"cpu_utilization_percentage": psutil.cpu_percent()}


def memory_values() -> Values:
    memory = psutil.virtual_memory()
    return {
        "system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system_memory_usage_percentage": memory.used / memory.total * 100,
    }


def disk_values() -> Values:
    folder = settings.WORK_DIR
    disk = psutil.disk_usage(str(folder) if folder.exists() else os.sep)
    return {
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": disk.used / MEGABYTE,
        "disk_available_megabytes": disk.free / MEGABYTE,
    }


def gpu_values(run: Run, readings: list[Reading]) -> Values:
    """Of the run's own devices; numbered as on the host, as MLflow's client does."""
    values: Values = {}
    for reading in readings:
        if not any(reading.device.is_called(name) for name in run.devices):
            continue
        measured = {
            "utilization_percentage": reading.utilization,
            "memory_usage_megabytes": reading.memory_used,
            "memory_usage_percentage": _percentage(reading.memory_used, reading.memory_total),
            "power_usage_watts": reading.power,
            "power_usage_percentage": _percentage(reading.power, reading.power_limit),
            "temperature_celsius": reading.temperature,
        }
        for name, value in measured.items():
            if value is not None:
                values[f"gpu_{reading.device.index}_{name}"] = value
    return values


def _percentage(part: float | None, whole: float | None) -> float | None:
    return 100 * part / whole if part is not None and whole else None


def record(run: Run, worker: Worker, values: Values) -> None:
    """Store the values as the run's next sample. The training has not reported anything by that.

    Raises LeaseLost.
    """
    now_ms = time.time_ns() // 1_000_000
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        reported_at = locked.reported_at
        number = _next_sample(locked)
        if number is not None:
            points = [Point(key, number, value, now_ms) for key, value in values.items()]
            recording.record_metrics(locked, points)
            locked.change(executor_state={**locked.executor_state, "samples": number + 1})
        if GPU_UTILIZATION not in locked.metrics:  # otherwise the script reports it
            utilization = mean_gpu_utilization(locked.metrics)
            if utilization is not None:
                locked.change(gpu_utilization=utilization)
        locked.change(reported_at=reported_at)


def _next_sample(run: Run) -> int | None:
    """The number of the run's next sample, from 0; None if its script reports samples itself."""
    state: ExecutorState = run.executor_state
    number = state.get("samples", 0)
    last = run.series.filter(key=ALWAYS).values_list("last_step", flat=True).first()
    return None if last is not None and last >= number else number
