"""Jobs whose worker, a process of its own, is killed and started again."""

import pytest
from django.conf import settings

from artifacts.checkpoints import latest_sound_checkpoint
from execution.models import MirroredFile
from runs import actions
from runs.models import EventKind
from runs.status import RunStatus
from tests.execution.worker_loops import over
from tests.ray.test_runs import (
    assert_whole,
    at_step,
    expected_state,
    kinds,
    ray_run,
    state_in,
    steps_of,
)
from tests.waiting import wait_until
from tests.workers import WorkerProcess

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

SECONDS = 180  # for a worker to start and a job to get somewhere, on a busy machine
SAVED_EVERY = 50  # steps, by the training


@pytest.fixture
def worker(cluster, public_url):
    """Starts workers and kills them after the test."""
    started = []

    def start():
        process = WorkerProcess(
            "one",
            TRAINHUB_EXECUTORS="ray",
            TRAINHUB_RAY_ADDRESS=cluster.address,
            TRAINHUB_RAY_POLL_SECONDS=0.2,
            TRAINHUB_NODE_WORK_DIR=cluster.node_dir,
            TRAINHUB_PUBLIC_URL=settings.PUBLIC_URL,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def arrived_bytes(run):
    return MirroredFile.objects.get(node__attempt__run=run, path="metrics.jsonl").received


def jobs_of(cluster, run):
    return [name for name in cluster.job_states() if name.startswith(f"trainhub-{run.pk}-")]


def test_killed_worker_process_readopts_its_job_and_loses_nothing(worker, cluster):
    run = ray_run(nodes=2)
    first = worker()
    wait_until(at_step(run, 3 * SAVED_EVERY), seconds=SECONDS)

    first.kill()
    arrived = arrived_bytes(run)
    wait_until(lambda: arrived_bytes(run) > arrived + 4000)  # it goes on without a worker
    reached = run.step
    worker()
    wait_until(at_step(run, reached + 3 * SAVED_EVERY), seconds=SECONDS)

    assert (run.status, run.attempt) == (RunStatus.RUNNING, 1)
    assert EventKind.READOPTED in kinds(run)
    assert jobs_of(cluster, run) == [f"trainhub-{run.pk}-1"]

    actions.cancel_run(run, by=None, wait_seconds=0)
    wait_until(lambda: over(run), seconds=SECONDS)

    assert run.status == RunStatus.CANCELLED
    assert_whole(run)
    kept = latest_sound_checkpoint(run)
    assert kept.step == run.step == steps_of(run)[-1]
    assert state_in(kept) == expected_state(kept.step)
    saved = run.artifacts.filter(type="checkpoint").order_by("step").values_list("step", flat=True)
    expected = {*range(SAVED_EVERY, kept.step + 1, SAVED_EVERY), kept.step}
    assert list(saved) == sorted(expected)
