"""The host's metrics of runs: under MLflow's names, without a change to the script."""

import os

import psutil
import pytest
from django.utils import timezone

from execution.devices import Device, NoDevices, Reading
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.host_metrics import Sampler, record
from execution.worker import WorkerLoop
from metrics import recording
from metrics.points import Point
from tests.concurrency import in_parallel
from tests.execution.executors.contract import fresh, steps_of
from tests.factories import RecipeFactory, RunFactory, running
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

ALWAYS = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/disk_usage_percentage",
    "system/disk_usage_megabytes",
    "system/disk_available_megabytes",
    "system/process_memory_usage_megabytes",
}
CPU = "system/cpu_utilization_percentage"


class TwoGpus:
    def devices(self):
        return [reading.device for reading in self.readings()]

    def readings(self):
        return [
            Reading(
                Device(index, f"GPU-{index}"),
                utilization=utilization,
                memory_used=20_000,
                memory_total=80_000,
                power=300,
                power_limit=400,
                temperature=64,
            )
            for index, utilization in enumerate((50, 80))
        ]


def process_run(**fields):
    return running(recipe=RecipeFactory(), **fields)


def sample(run, source=None):
    Sampler(source or NoDevices()).sample(run.worker, [fresh(run)])
    run.refresh_from_db()


def report(run, **metrics):
    points = [Point(key, 5, value, 1_700_000_000_000) for key, value in metrics.items()]
    recording.record_metrics(run, points)


def test_sample_has_the_names_of_mlflows_client():
    run = process_run()

    sample(run)

    assert run.metrics.keys() == ALWAYS
    assert 0 <= run.metrics["system/system_memory_usage_percentage"] <= 100


def test_samples_are_numbered_on_the_step_axis():
    run = process_run()

    for _ in range(3):
        sample(run)

    assert steps_of(run, CPU) == [0, 1, 2]


def test_sample_is_no_report_of_the_training():
    reported = timezone.now()
    run = process_run(step=7, reported_at=reported)

    sample(run)

    assert (run.step, run.progress, run.reported_at) == (7, 0.0, reported)


def test_sample_has_the_runs_own_devices_by_their_number_on_the_host():
    run = process_run(devices=["1"])

    sample(run, TwoGpus())

    assert {key: value for key, value in run.metrics.items() if "gpu" in key} == {
        "system/gpu_1_utilization_percentage": 80,
        "system/gpu_1_memory_usage_megabytes": 20_000,
        "system/gpu_1_memory_usage_percentage": 25,
        "system/gpu_1_power_usage_watts": 300,
        "system/gpu_1_power_usage_percentage": 75,
        "system/gpu_1_temperature_celsius": 64,
    }


def test_gpu_utilization_of_the_run_is_the_mean_of_its_devices():
    run = process_run(devices=["GPU-0", "GPU-1"])

    sample(run, TwoGpus())

    assert run.gpu_utilization == pytest.approx(0.65)


def test_gpu_utilization_that_the_script_reports_itself_stays():
    run = process_run(devices=["0", "1"])
    report(run, gpu_utilization=0.9)

    sample(run, TwoGpus())

    assert run.gpu_utilization == 0.9


def test_samples_of_the_script_itself_are_left_alone():
    run = process_run()
    report(run, **{CPU: 12.0})

    sample(run)

    assert steps_of(run, CPU) == [5]


def test_samples_end_when_the_script_begins_to_report_its_own():
    run = process_run()
    sample(run)
    report(run, **{CPU: 12.0})

    sample(run)

    assert steps_of(run, CPU) == [0, 5]


def test_samples_survive_a_rewind_and_go_on():
    run = process_run(step=5)
    sample(run)
    sample(run)
    report(run, loss=1.0)

    recording.rewind(run, 0)
    sample(run)

    assert steps_of(run, CPU) == [0, 1, 2]
    assert steps_of(run, "loss") == []


def test_run_that_is_no_longer_the_workers_gets_no_sample():
    run, other = process_run(), process_run()
    stale = fresh(run)
    stale.change(worker=None)

    Sampler(NoDevices()).sample(other.worker, [stale, fresh(other)])

    assert not run.series.exists()
    assert other.series.exists()


def test_run_with_too_many_metrics_keeps_no_other_from_its_samples(monkeypatch, caplog):
    full = process_run()
    other = process_run(worker=full.worker)
    report(full, loss=1.0, accuracy=0.5, perplexity=2.7)
    monkeypatch.setattr(recording, "MAX_SERIES", len(ALWAYS) + 2)
    sampler = Sampler(NoDevices())

    for _ in range(2):
        sampler.sample(full.worker, [fresh(full), fresh(other)])

    assert steps_of(other, CPU) == [0, 1]
    assert caplog.text.count(f"no metrics of run {full.pk}") == 1


class LostGpu(NoDevices):
    def readings(self):
        raise RuntimeError("GPU is lost")


@pytest.mark.parametrize("missing", ["gpu", "disk", "process_"])
def test_what_cannot_be_measured_keeps_nothing_else_from_it(monkeypatch, missing):
    run = process_run()
    if missing == "disk":
        monkeypatch.setattr(psutil, "disk_usage", lambda path: os.stat("/nowhere"))
    if missing == "process_":
        monkeypatch.setattr(Attempt, "tree", lambda attempt: 1 / 0)

    sample(run, LostGpu() if missing == "gpu" else None)

    assert {key for key in ALWAYS if missing not in key} <= run.metrics.keys()


def test_memory_and_time_of_the_runs_own_processes_count():
    script = "x = bytearray(100_000_000)\nprint('ready', flush=True)\nwhile True: pass"
    loop = WorkerLoop(name="one", executors={"process": ProcessExecutor()})
    loop.register()
    simulated = RunFactory()
    run = RunFactory(recipe=RecipeFactory(script=script), total_steps=None)
    loop.tick()
    wait_until(lambda: loop.tick() or run.log_lines.exists())
    sampler = Sampler(NoDevices())

    loop.sample_host(sampler)
    cpu = Attempt.of(fresh(run)).process().cpu_times().user
    wait_until(lambda: Attempt.of(fresh(run)).process().cpu_times().user > cpu)
    loop.sample_host(sampler)

    run.refresh_from_db()
    assert run.metrics["system/process_memory_usage_megabytes"] > 100
    assert run.metrics["system/process_cpu_utilization_percentage"] > 0
    assert not simulated.series.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_worker_samples_its_host_in_the_background(settings):
    settings.HOST_METRICS_SECONDS = 0.02
    run = RunFactory(recipe=RecipeFactory(script="import time; time.sleep(600)"))
    loop = WorkerLoop(name="one", executors={"process": ProcessExecutor()}, tick_seconds=0.01)

    def stop_after_three():
        wait_until(lambda: len(steps_of(run, CPU)) >= 3)
        loop.stopping.set()

    assert in_parallel(lambda: loop.run(stop_work=True), stop_after_three) == [None, None]


def test_recording_takes_few_queries(django_assert_max_num_queries):
    run = process_run()
    sample(run)
    values = dict.fromkeys(run.metrics, 1.0)

    with django_assert_max_num_queries(12):
        record(run, run.worker, values)
