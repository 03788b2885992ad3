"""Why a run waits: its place in the queue, what it waits for, when it will start."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from execution.scheduling.explanation import WaitsFor, explain, explain_queue
from projects.sight import EVERYTHING
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def minutes_ago(minutes):
    return NOW - timedelta(minutes=minutes)


def gpu_run(count, **fields):
    return RunFactory(gpu_type="A100", gpu_count=count, **fields)


@pytest.fixture
def english():
    with translation.override("en"):
        yield


@pytest.mark.usefixtures("english")
def test_reason_is_that_no_worker_can_execute_it():
    WorkerFactory(executors=["process"])

    assert explain(RunFactory()).reason == "No running worker can execute it."


@pytest.mark.usefixtures("english")
def test_dead_and_stopped_workers_do_not_count():
    WorkerFactory(last_heartbeat=minutes_ago(60))
    WorkerFactory(stopped_at=NOW)

    assert explain(RunFactory()).reason == "No running worker can execute it."


@pytest.mark.usefixtures("english")
def test_reason_is_that_every_worker_drains():
    WorkerFactory(draining=True)

    assert (
        explain(RunFactory()).reason
        == "Every worker that can execute it is draining: it takes no new runs."
    )


@pytest.mark.usefixtures("english")
def test_draining_worker_does_not_matter_next_to_another():
    WorkerFactory(draining=True)
    WorkerFactory()

    assert explain(RunFactory()).reason.startswith("Next in the queue")


@pytest.mark.usefixtures("english")
def test_reason_is_that_the_pool_is_too_small():
    WorkerFactory()
    GpuPoolFactory(capacity=8)

    reason = explain(gpu_run(16)).reason

    assert reason == "It requests 16 A100 GPUs, but there are only 8."


@pytest.mark.usefixtures("english")
def test_reason_is_that_the_gpus_are_in_use():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=6)

    assert explain(gpu_run(4)).reason == "Waiting for 4 A100 GPUs; 2 are free."


@pytest.mark.usefixtures("english")
def test_reason_names_the_number_of_runs_ahead():
    WorkerFactory()
    RunFactory(queued_at=minutes_ago(9))
    RunFactory(priority=1)
    run = RunFactory(queued_at=minutes_ago(5))
    RunFactory(queued_at=minutes_ago(1))

    assert "2" in explain(run).reason


@pytest.mark.usefixtures("english")
def test_position_counts_the_runs_of_its_pool_alone():
    WorkerFactory()
    GpuPoolFactory(capacity=1)
    GpuPoolFactory(gpu_type="H100", capacity=1)
    RunFactory(gpu_type="H100", gpu_count=1, queued_at=minutes_ago(9))
    gpu_run(1, queued_at=minutes_ago(5))
    run = gpu_run(1, queued_at=minutes_ago(1))

    assert explain(run).position == 2


def test_run_that_others_are_held_back_for_is_named_by_their_number():
    WorkerFactory()
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=4)
    gpu_run(8, queued_at=minutes_ago(5))
    run = gpu_run(1)

    why = explain(run)

    assert why.waits_for is WaitsFor.RUNS_AHEAD
    assert "1" in why.reason


@pytest.mark.parametrize(
    ("fields", "waits_for"),
    [
        ({"status": RunStatus.PAUSED}, WaitsFor.CONTINUE),
        ({"status": RunStatus.COMPLETED}, WaitsFor.NOTHING),
        ({"recipe": None}, WaitsFor.NOTHING),
    ],
)
def test_run_that_does_not_wait_in_the_queue_has_no_position(fields, waits_for):
    why = explain(RunFactory(**fields))

    assert (why.waits_for, why.position, why.estimated_start) == (waits_for, None, None)


def test_run_that_a_worker_executes_waits_for_nothing():
    assert explain(running()).waits_for is WaitsFor.NOTHING


def test_start_is_estimated_by_the_steps_of_the_runs_that_hold_gpus():
    WorkerFactory()
    GpuPoolFactory(capacity=8)
    now = timezone.now()
    began = now - timedelta(minutes=30)
    running(
        gpu_type="A100",
        gpu_count=8,
        total_steps=100,
        step=75,
        attempt_started_at=began,
        stepped_at=now,
        held_since=began,
    )
    ahead = gpu_run(8, queued_at=minutes_ago(5), expected_seconds=600.0)
    run = gpu_run(8)

    starts = [explain(one).estimated_start for one in (ahead, run)]

    assert starts[0] == pytest.approx(now + timedelta(minutes=10), abs=timedelta(seconds=20))
    assert starts[1] - starts[0] == timedelta(minutes=10)


def test_estimate_is_earlier_where_runs_of_the_recipe_are_cancelled_early():
    GpuPoolFactory(capacity=8)
    now = timezone.now()
    RunFactory(pool="A100", status=RunStatus.CANCELLED, total_steps=100, step=50, held_seconds=60.0)
    running(
        gpu_type="A100",
        gpu_count=8,
        total_steps=100,
        step=25,
        attempt_started_at=now - timedelta(minutes=10),
        stepped_at=now,
        held_since=now - timedelta(minutes=10),
    )

    start = explain(gpu_run(8)).estimated_start

    assert start == pytest.approx(now + timedelta(minutes=10), abs=timedelta(seconds=20))


def test_run_of_unknown_length_is_taken_to_need_as_long_again():
    GpuPoolFactory(capacity=8)
    ahead = running(gpu_type="A100", pool="A100", gpu_count=8)
    ahead.change(held_since=timezone.now() - timedelta(hours=2))

    start = explain(gpu_run(8)).estimated_start

    expected = timezone.now() + timedelta(hours=2)
    assert start == pytest.approx(expected, abs=timedelta(seconds=20))


def test_run_that_cannot_start_has_no_estimate():
    WorkerFactory()
    GpuPoolFactory(capacity=8)

    assert explain(gpu_run(9)).estimated_start is None


def test_run_in_the_queue_of_its_cluster_has_the_reason_and_the_start_of_that():
    start = NOW + timedelta(hours=1)
    run = RunFactory(
        worker=WorkerFactory(), status_reason="Others are first.", estimated_start=start
    )

    why = explain(run)

    assert (why.waits_for, why.reason, why.position) == (
        WaitsFor.CLUSTER,
        "Others are first.",
        None,
    )
    assert why.estimated_start == start
    assert [one.run for one in explain_queue(9, EVERYTHING)] == [run]
