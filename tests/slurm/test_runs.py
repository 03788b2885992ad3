"""Runs on a real Slurm, with a worker: what happens to jobs, nodes, the controller, the worker."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from django.utils import translation

from artifacts.checkpoints import latest_sound_checkpoint, resume_run
from execution.executors.attempt import Attempt
from execution.executors.slurm.executor import SlurmExecutor
from execution.worker import WorkerLoop
from metrics.models import MetricPoint
from runs import actions
from runs.models import EventKind, FailureKind
from runs.status import RunStatus
from tests.execution.worker_loops import over, tick_until
from tests.factories import RecipeFactory, RunFactory, stored_path

pytestmark = pytest.mark.django_db

TRAINING = Path(__file__).with_name("training.py")
STEPPER = Path(__file__).parent.parent / "execution" / "executors" / "stepper.py"
LONG = {"max_steps": 1_000_000}


def loop_of(executor=None, name="slurm"):
    loop = WorkerLoop(
        name=name, slots=1, executors={"slurm": executor or SlurmExecutor()}, tick_seconds=0.05
    )
    loop.register()
    return loop


@pytest.fixture
def loop():
    return loop_of()


def slurm_run(script=TRAINING, hyperparameters=LONG, *, nodes=1, gpu_count=0, **fields):
    recipe_fields = {"executor": "slurm", "command": [sys.executable, str(script)]}
    run_fields = {"nodes": nodes, "gpu_count": gpu_count, "gpu_type": "a100" if gpu_count else ""}
    for name in ("stop_grace_seconds", "engine_options", "max_restarts"):
        if name in fields:
            recipe_fields[name] = fields.pop(name)
    return RunFactory(
        recipe=RecipeFactory(**recipe_fields),
        hyperparameters=hyperparameters,
        total_steps=None,
        max_restarts=recipe_fields.get("max_restarts", 3),
        **run_fields,
        **fields,
    )


def at_step(run, step):
    def reached():
        run.refresh_from_db()
        return run.step >= step

    return reached


def is_again_at_work(run):
    """Whether its second attempt has reported a step."""
    run.refresh_from_db()
    began = run.attempt_started_at
    return run.attempt == 2 and began is not None and run.stepped_at > began


def kinds(run):
    return list(run.events.order_by("id").values_list("kind", flat=True))


def steps_of(run):
    points = MetricPoint.objects.filter(series__run=run, series__key="train_loss")
    return list(points.order_by("step", "timestamp_ms").values_list("step", flat=True))


def assert_whole(run):
    """No point, line or checkpoint is missing or doubled."""
    steps = steps_of(run)
    assert steps == list(range(run.start_step + 1, steps[-1] + 1))
    numbers = list(run.log_lines.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, run.log_count + 1))
    saved = list(run.artifacts.filter(type="checkpoint").values_list("step", flat=True))
    assert len(saved) == len(set(saved))


def expected_sum(step):
    total = 0
    for number in range(1, step + 1):
        total = (total * 31 + number) % 1_000_003
    return total


def job_of(run):
    note = Attempt.of(run).directory / "slurm.json"
    return json.loads(note.read_text())["job"]


# --- over both nodes -------------------------------------------------------------------------


def test_run_over_both_nodes_is_cancelled_with_its_checkpoint_and_resumes_byte_exactly(loop):
    run = slurm_run(nodes=2, gpu_count=4)
    tick_until(loop, at_step(run, 60))
    devices = run.log_lines.filter(message__contains="rank 1 of 2").values_list("source", flat=True)
    assert list(devices) == ["stdout@1"]

    actions.cancel_run(run, by=None, wait_seconds=0)
    began = time.monotonic()
    tick_until(loop, lambda: over(run))

    assert time.monotonic() - began < 5
    assert run.status == RunStatus.CANCELLED
    assert_whole(run)
    kept = latest_sound_checkpoint(run)
    assert kept.step == run.step
    assert json.loads(stored_path(kept).read_text()) == {
        "step": kept.step,
        "sum": expected_sum(kept.step),
    }

    end = kept.step + 40
    resumed = resume_run(run, kept, by=None, hyperparameters={"max_steps": end})
    tick_until(loop, lambda: over(resumed))

    assert resumed.status == RunStatus.COMPLETED
    assert_whole(resumed)
    last = latest_sound_checkpoint(resumed)
    assert json.loads(stored_path(last).read_text()) == {"step": end, "sum": expected_sum(end)}


def test_rank_that_fails_ends_the_others_and_the_run(loop, tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, time\n"
        "if os.environ['TRAINHUB_NODE_RANK'] == '1':\n"
        "    raise ValueError('bad shard')\n"
        "time.sleep(600)\n"
    )
    run = slurm_run(script, nodes=2, stop_grace_seconds=3)

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.FAILED
    assert "ValueError: bad shard" in str(run.status_reason)
    assert run.exit_code == 1


def test_gpus_are_those_that_slurm_assigns(loop, tmp_path, cluster):
    script = tmp_path / "gpus.py"
    script.write_text("import os; print('gpus', os.environ['CUDA_VISIBLE_DEVICES'])\n")
    run = slurm_run(script, gpu_count=3)

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.COMPLETED
    assert run.log_lines.filter(message="gpus 0,1,2").exists()
    newest = max(cluster.job_states(), key=int)
    tick_until(loop, lambda: cluster.job_states()[newest] == "COMPLETED")


# --- Slurm's queue ---------------------------------------------------------------------------


def test_run_that_slurm_holds_is_queued_with_its_reason_and_starts_when_there_is_room(loop):
    first = slurm_run(gpu_count=8, nodes=2)
    tick_until(loop, at_step(first, 1))
    second = slurm_run(gpu_count=2)

    def waits():
        second.refresh_from_db()
        return second.status_reason and "submitted" not in str(second.status_reason)

    with translation.override("en"):
        tick_until(loop, waits)
    assert (second.status, second.worker_id) == (RunStatus.QUEUED, loop.worker.pk)
    assert second.started_at is None
    assert second.held_since is None

    actions.cancel_run(first, by=None, wait_seconds=0)
    tick_until(loop, at_step(second, 1))

    assert second.status == RunStatus.RUNNING
    assert second.status_reason == ""
    assert kinds(second) == [EventKind.SUBMITTED, EventKind.STARTED]
    assert second.held_since is not None


def test_run_that_waits_is_cancelled_at_once(loop, cluster):
    first = slurm_run(gpu_count=8, nodes=2)
    tick_until(loop, at_step(first, 1))
    second = slurm_run(gpu_count=8, nodes=2)
    tick_until(loop, lambda: "PENDING" in cluster.job_states().values())

    actions.cancel_run(second, by=None, wait_seconds=0)
    began = time.monotonic()
    tick_until(loop, lambda: over(second))

    assert second.status == RunStatus.CANCELLED
    assert time.monotonic() - began < 5
    assert "PENDING" not in cluster.job_states().values()


def test_run_that_never_starts_says_so(loop, cluster):
    run = slurm_run(engine_options={"partition": "small"}, nodes=2)

    def says_never():
        run.refresh_from_db()
        with translation.override("en"):
            return "until somebody changes that" in str(run.status_reason)

    tick_until(loop, says_never)
    assert run.status == RunStatus.QUEUED


def test_partition_that_there_is_not_fails_the_run_with_slurms_words(loop):
    run = slurm_run(engine_options={"partition": "nowhere"})

    tick_until(loop, lambda: over(run))

    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.CANNOT_START)
    assert "Invalid partition name" in str(run.status_reason)


# --- what goes wrong -------------------------------------------------------------------------


def test_training_goes_on_within_a_minute_after_its_node_was_killed(loop, cluster):
    run = slurm_run(max_restarts=0)
    tick_until(loop, at_step(run, 60))
    job = cluster.run("scontrol", "-o", "show", "job", job_of(run)).stdout
    node = (
        "n1" if "NodeList=n1" in job.replace("ReqNodeList", "").replace("ExcNodeList", "") else "n2"
    )

    cluster.kill_node(node)
    began = time.monotonic()
    try:
        tick_until(loop, lambda: is_again_at_work(run))
        seconds = time.monotonic() - began
    finally:
        cluster.start_node(node)
    assert seconds <= 60
    assert_whole(run)
    assert run.restart_count == 0


def test_run_over_both_nodes_goes_on_after_one_was_killed(loop, cluster):
    run = slurm_run(nodes=2)
    tick_until(loop, at_step(run, 60))

    cluster.kill_node("n2")
    began = time.monotonic()
    tick_until(loop, lambda: at_step(run, 1)() and run.attempt == 2)
    cluster.start_node("n2")
    tick_until(loop, lambda: is_again_at_work(run))

    assert time.monotonic() - began <= 60
    assert_whole(run)


def test_another_worker_process_readopts_jobs(loop):
    run = slurm_run()
    tick_until(loop, at_step(run, 20))

    second = loop_of()
    tick_until(second, at_step(run, run.step + 20))

    assert run.attempt == 1
    assert kinds(run)[-1] == EventKind.READOPTED
    assert_whole(run)


def test_another_worker_goes_on_with_jobs_of_one_that_is_gone(loop, settings):
    run = slurm_run()
    tick_until(loop, at_step(run, 20))
    settings.WORKER_LEASE_SECONDS = 0.5
    time.sleep(0.6)

    other = loop_of(name="other")
    tick_until(other, at_step(run, run.step + 20))

    assert (run.attempt, run.worker_id) == (1, other.worker.pk)
    assert_whole(run)


@pytest.mark.parametrize("has_saved", [True, False], ids=["known after", "forgotten after"])
def test_controller_that_is_away_changes_nothing(loop, cluster, has_saved):
    run = slurm_run()
    tick_until(loop, at_step(run, 20))
    if has_saved:
        cluster.wait_until_saved()

    cluster.stop_controller()

    def is_noted():
        run.refresh_from_db()
        return EventKind.FAULT in kinds(run)

    tick_until(loop, is_noted)
    assert run.status == RunStatus.RUNNING
    tick_until(loop, at_step(run, run.step + 20))

    cluster.start_controller()

    def is_well():
        run.refresh_from_db()
        return EventKind.FAULT_OVER in kinds(run)

    tick_until(loop, is_well)
    tick_until(loop, at_step(run, run.step + 20))
    assert run.attempt == 1
    assert_whole(run)


def test_run_submitted_while_the_controller_is_away_starts_later(loop, cluster):
    cluster.stop_controller()
    run = slurm_run(STEPPER, {"max_steps": 20})

    def is_noted():
        return EventKind.FAULT in kinds(run)

    tick_until(loop, is_noted)
    cluster.start_controller()
    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.COMPLETED
    assert len(cluster.job_states()) >= 1
    assert_whole(run)


def test_job_that_slurm_requeues_goes_on_in_a_new_one(loop, cluster):
    run = slurm_run(max_restarts=0)
    tick_until(loop, at_step(run, 60))
    job = job_of(run)

    cluster.run("scontrol", "update", f"job={job}", "Requeue=1")
    cluster.run("scontrol", "requeue", job)
    tick_until(loop, lambda: is_again_at_work(run))

    assert cluster.job_states()[job] == "CANCELLED"
    assert job_of(run) != job
    assert_whole(run)


def test_job_that_somebody_cancels_uses_up_a_restart(loop, cluster):
    run = slurm_run(max_restarts=1)
    tick_until(loop, at_step(run, 60))

    cluster.run("scancel", job_of(run))
    tick_until(loop, lambda: is_again_at_work(run))

    recovered = run.events.get(kind=EventKind.RECOVERED)
    with translation.override("en"):
        assert "scancel" in str(recovered.reason)
    assert_whole(run)


def test_job_that_somebody_cancels_without_restarts_has_failed_for_that(loop, cluster):
    run = slurm_run(max_restarts=0)
    tick_until(loop, at_step(run, 1))

    cluster.run("scancel", job_of(run))
    tick_until(loop, lambda: over(run))

    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.CLUSTER_CANCEL)


def test_run_goes_on_by_itself_after_its_time_limit(loop):
    run = slurm_run(time_limit_seconds=60, stop_grace_seconds=2, max_restarts=0)

    tick_until(loop, lambda: is_again_at_work(run))

    recovered = run.events.get(kind=EventKind.RECOVERED)
    with translation.override("en"):
        assert "time limit" in str(recovered.reason)
    assert run.restart_count == 0
    assert_whole(run)


def test_killed_worker_process_leaves_the_job(loop, cluster):
    run = slurm_run()
    tick_until(loop, at_step(run, 20))
    job = job_of(run)

    loop.leave(stop_work=False, stop_seconds=1)

    assert cluster.job_states()[job] == "RUNNING"
    cluster.stop_controller(signal.SIGTERM)
    cluster.start_controller()
    tick_until(loop_of(), at_step(run, run.step + 20))
    assert job_of(run) == job
