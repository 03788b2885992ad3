"""Runs on a real Ray, with a worker: what happens to jobs, nodes, the head, the web server."""

import io
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from django.utils import translation

from artifacts.checkpoints import latest_sound_checkpoint, resume_run
from artifacts.storage import artifact_storage
from code_bundles import storing
from execution.executors.attempt import Attempt
from execution.executors.ray import host
from execution.executors.ray.executor import RayExecutor
from execution.mirror.receiving import FOLDER
from execution.models import MirroredChunk
from execution.worker import WorkerLoop
from metrics.models import MetricPoint
from runs import actions
from runs.executors import FoundPool
from runs.models import EventKind, FailureKind, RunCode
from runs.status import RunStatus
from tests.code_bundles.bundles import link, zip_of
from tests.execution.worker_loops import over
from tests.factories import RecipeFactory, RunFactory, stored_path
from tests.ray.cluster import GPUS
from tests.waiting import wait_until
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

TRAINING = Path(__file__).with_name("training.py")
STEPPER = Path(__file__).parent.parent / "execution" / "executors" / "stepper.py"
LONG = {"max_steps": 1_000_000}


def loop_of(name="ray"):
    loop = WorkerLoop(name=name, slots=1, executors={"ray": RayExecutor()}, tick_seconds=0.05)
    loop.register()
    return loop


@pytest.fixture
def loop():
    return loop_of()


def tick_until(loop, condition, seconds=90):
    def tick():
        loop.tick()
        return condition()

    return wait_until(tick, seconds=seconds, every=0.1)


def ray_run(
    script=TRAINING, hyperparameters=LONG, *, nodes=1, gpu_count=0, gpu_type="a100", **fields
):
    recipe_fields = {"executor": "ray", "command": ["{python}", str(script)]}
    for name in ("stop_grace_seconds", "engine_options", "max_restarts", "command"):
        if name in fields:
            recipe_fields[name] = fields.pop(name)
    return RunFactory(
        recipe=RecipeFactory(**recipe_fields),
        hyperparameters=hyperparameters,
        total_steps=None,
        max_restarts=recipe_fields.get("max_restarts", 3),
        nodes=nodes,
        gpu_count=gpu_count,
        gpu_type=gpu_type if gpu_count else "",
        **fields,
    )


def at_step(run, step):
    def reached():
        run.refresh_from_db()
        return run.step >= step

    return reached


def is_again_at_work(run):
    """Whether a later attempt has reported a step."""
    run.refresh_from_db()
    began = run.attempt_started_at
    return run.attempt > 1 and began is not None and run.stepped_at > began


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


def expected_state(step):
    total = 0
    for number in range(1, step + 1):
        total = (total * 31 + number) % 1_000_003
    return {"step": step, "sum": total}


def state_in(artifact):
    return json.loads(stored_path(artifact).read_text())


def agents_of(cluster, rank):
    return [
        process
        for process in cluster.agents()
        if "--remote" in process.cmdline()
        and process.environ().get("TRAINHUB_NODE_RANK") == str(rank)
    ]


# --- over both nodes -------------------------------------------------------------------------


def test_run_over_both_nodes_is_cancelled_with_its_checkpoint_and_resumes_byte_exactly(loop):
    run = ray_run(nodes=2, gpu_count=2, gpu_type="gpu")
    tick_until(loop, at_step(run, 60))
    sources = run.log_lines.filter(message__contains="rank 1 of 2").values_list("source", flat=True)
    assert list(sources) == ["stdout@1"]
    assert run.log_lines.filter(message__regex=r"^devices \d$").count() == 2

    actions.cancel_run(run, by=None, wait_seconds=0)
    began = time.monotonic()
    tick_until(loop, lambda: over(run))
    seconds = time.monotonic() - began

    assert run.status == RunStatus.CANCELLED
    print(f"cancel to the kept checkpoint: {seconds:.1f} s")  # noqa: T201
    assert seconds <= 5
    assert_whole(run)
    kept = latest_sound_checkpoint(run)
    assert kept.step == run.step
    assert state_in(kept) == expected_state(kept.step)

    end = kept.step + 40
    resumed = resume_run(run, kept, by=None, hyperparameters={"max_steps": end})
    tick_until(loop, lambda: over(resumed))

    assert resumed.status == RunStatus.COMPLETED
    assert_whole(resumed)
    assert state_in(latest_sound_checkpoint(resumed)) == expected_state(end)


def test_each_node_has_the_code_that_the_run_has_brought(loop):
    run = ray_run(command=["{code}/bin/start.sh"], nodes=2)
    start = b'#!/bin/sh\nexec python "$TRAINHUB_CODE_DIR/train.py"\n'
    train = b"import os, helper; print(helper.WORD, os.environ['TRAINHUB_NODE_RANK'])"
    archive = zip_of(
        ("tools/start.sh", start, stat.S_IFREG | 0o755),
        ("train.py", train, stat.S_IFREG | 0o644),
        ("helper.py", b"WORD = 'hello from'", stat.S_IFREG | 0o644),
        link("bin", "tools"),
    )
    stored, _is_new = storing.receive(io.BytesIO(archive), by=None)
    RunCode.objects.create(run=run, bundle=stored, origin={})

    tick_until(loop, lambda: over(run))

    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED, str(run.status_reason)
    printed = set(run.log_lines.values_list("message", flat=True))
    assert {"hello from 0", "hello from 1"} <= printed


def test_nothing_of_a_run_that_is_over_is_left_in_the_storage(loop):
    run = ray_run(STEPPER, {"max_steps": 20})
    tick_until(loop, lambda: over(run))

    def is_tidy():
        loop.chores.next_tidy = 0.0
        return not MirroredChunk.objects.exists()

    tick_until(loop, is_tidy)
    _folders, files = artifact_storage().listdir(f"{run.project_id}/{run.pk}/{FOLDER}")
    assert files == []


# --- waiting ---------------------------------------------------------------------------------


def test_run_that_waits_says_for_what_and_is_cancelled_at_once(loop):
    run = ray_run(nodes=2, gpu_count=200)

    def waits_for_resources():
        run.refresh_from_db()
        with translation.override("en"):
            return "all at once" in str(run.status_reason)

    tick_until(loop, waits_for_resources)
    assert run.status == RunStatus.QUEUED

    actions.cancel_run(run, by=None, wait_seconds=0)
    began = time.monotonic()
    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.CANCELLED
    assert time.monotonic() - began <= 5


# --- what goes wrong -------------------------------------------------------------------------


def test_training_goes_on_within_a_minute_after_a_node_was_killed(loop, cluster):
    run = ray_run(nodes=2, max_restarts=0)
    tick_until(loop, at_step(run, 400))
    node = {process.pid for process in cluster.other.processes()}
    agents = [*agents_of(cluster, 0), *agents_of(cluster, 1)]
    lost = [process for process in agents if process.ppid() in node]
    assert len(lost) == 1

    # A machine that loses power takes all of it.
    for process in [*lost[0].children(recursive=True), *lost]:
        process.send_signal(signal.SIGKILL)
    cluster.other.kill()
    began = time.monotonic()
    cluster.start_other()
    tick_until(loop, lambda: is_again_at_work(run), seconds=120)

    seconds = time.monotonic() - began
    print(f"killed node to training again: {seconds:.0f} s")  # noqa: T201
    assert seconds <= 60
    assert run.restart_count == 0
    rewound = run.events.get(kind=EventKind.REWOUND).reason
    with translation.override("en"):
        assert "to step 0" not in str(rewound)
    assert_whole(run)
    assert RayExecutor().pools() == [FoundPool("gpu", 2 * GPUS)]  # the lost node's no more


def test_killed_agent_is_started_again(loop, cluster):
    run = ray_run()
    tick_until(loop, at_step(run, 30))

    for agent in agents_of(cluster, 0):
        agent.send_signal(signal.SIGKILL)
    tick_until(loop, at_step(run, run.step + 100))

    assert run.attempt == 1
    assert_whole(run)


def test_killed_launcher_uses_up_a_restart(loop, cluster):
    run = ray_run()
    tick_until(loop, at_step(run, 60))
    folder = next(cluster.node_dir.glob(f"{run.pk}-*/attempt"))
    launcher = json.loads((folder / "launcher.json").read_text())["pid"]

    os.kill(launcher, signal.SIGKILL)
    tick_until(loop, lambda: is_again_at_work(run))

    assert run.restart_count == 1
    assert_whole(run)


def test_another_worker_on_another_host_goes_on(loop, settings, tmp_path):
    run = ray_run()
    tick_until(loop, at_step(run, 120))
    settings.WORKER_LEASE_SECONDS = 0.5
    time.sleep(0.6)
    settings.WORK_DIR = tmp_path / "other-host"

    other = loop_of("other")
    tick_until(other, at_step(run, run.step + 100))

    assert (run.attempt, run.worker_id) == (1, other.worker.pk)
    assert Attempt.of(run).directory.exists()
    actions.cancel_run(run, by=None, wait_seconds=0)
    tick_until(other, lambda: over(run))
    assert_whole(run)
    assert state_in(latest_sound_checkpoint(run))["step"] == run.step


def test_node_that_falls_silent_is_lost_though_ray_says_that_the_job_runs(
    loop, cluster, monkeypatch
):
    monkeypatch.setattr(host, "LOST_SECONDS", 20.0)
    monkeypatch.setattr(host, "UNHEARD_SECONDS", 5.0)
    run = ray_run(nodes=2, max_restarts=0)
    tick_until(loop, at_step(run, 120))

    for agent in agents_of(cluster, 1):
        agent.send_signal(signal.SIGSTOP)
    tick_until(loop, lambda: is_again_at_work(run), seconds=180)

    recovered = run.events.get(kind=EventKind.RECOVERED)
    with translation.override("en"):
        assert "A node of its Ray job is lost" in str(recovered.reason)
    assert cluster.job_states()[f"trainhub-{run.pk}-1"] == "STOPPED"
    assert run.restart_count == 0
    assert_whole(run)


def test_job_that_somebody_stops_in_ray_saves_and_uses_up_a_restart(loop, cluster):
    run = ray_run(TRAINING, max_restarts=1)
    tick_until(loop, at_step(run, 30))

    cluster.client().stop_job(f"trainhub-{run.pk}-1")
    tick_until(loop, lambda: is_again_at_work(run))

    recovered = run.events.get(kind=EventKind.RECOVERED)
    with translation.override("en"):
        assert "ray job stop" in str(recovered.reason)
    assert run.restart_count == 1
    assert_whole(run)


def test_training_that_fails_ends_the_others_and_the_run(loop, tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys, time\n"
        "if os.environ['TRAINHUB_NODE_RANK'] == '1':\n"
        "    sys.exit('RuntimeError: no such shard')\n"
        "time.sleep(600)\n"
    )
    run = ray_run(script, nodes=2, max_restarts=0, stop_grace_seconds=2)

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.FAILED
    assert "no such shard" in str(run.status_reason)


def test_job_that_cannot_be_prepared_fails_the_run_with_rays_words(loop):
    options = {"runtime_env": {"conda": "no-such-environment"}}
    run = ray_run(engine_options=options)

    tick_until(loop, lambda: over(run))

    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.CANNOT_START)


def test_run_whose_launcher_is_not_understood_fails_with_the_servers_words(loop, settings):
    settings.ALLOWED_HOSTS = ["another.example"]
    run = ray_run(max_restarts=0)

    tick_until(loop, lambda: over(run), seconds=150)

    run.refresh_from_db()
    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.CANNOT_START)
    with translation.override("en"):
        assert "the server takes nothing of this attempt: 400" in str(run.status_reason)


def test_head_that_is_restarted_and_has_forgotten_its_jobs(loop, cluster):
    """The launcher goes on reporting, so the run goes on."""
    run = ray_run()
    tick_until(loop, at_step(run, 60))

    cluster.kill_alone(cluster.head)
    tick_until(loop, at_step(run, run.step + 100))
    assert EventKind.FAULT in kinds(run)
    cluster.kill_alone(cluster.other)
    cluster.start_head()
    cluster.start_other()
    tick_until(loop, at_step(run, run.step + 100))

    assert (run.status, run.attempt) == (RunStatus.RUNNING, 1)
    actions.cancel_run(run, by=None, wait_seconds=0)
    tick_until(loop, lambda: over(run))
    assert_whole(run)


def test_head_that_takes_everything_with_it_does_not_leave_the_run_running(loop, cluster):
    run = ray_run()
    tick_until(loop, at_step(run, 60))

    cluster.head.kill()
    cluster.other.kill()
    cluster.end_trainings()
    cluster.start_head()
    cluster.start_other()
    tick_until(loop, lambda: is_again_at_work(run), seconds=120)

    assert run.restart_count == 0
    assert_whole(run)


def test_web_server_that_is_away_loses_nothing(loop, settings):
    with web_server() as server:
        settings.PUBLIC_URL = server.url
        run = ray_run()
        tick_until(loop, at_step(run, 60))

        server.kill()
        reached = run.step
        deadline = time.monotonic() + 25  # longer than a silence that would end it
        tick_until(loop, lambda: time.monotonic() > deadline)
        run.refresh_from_db()
        assert (run.status, run.attempt) == (RunStatus.RUNNING, 1)
        server.start()
        tick_until(loop, at_step(run, reached + 500))

        actions.cancel_run(run, by=None, wait_seconds=0)
        tick_until(loop, lambda: over(run))
    assert run.status == RunStatus.CANCELLED
    assert_whole(run)
    kept = latest_sound_checkpoint(run)
    assert state_in(kept) == expected_state(kept.step)
