"""Jobs whose worker, a process of its own, is killed and started again."""

import shutil

import pytest

from execution.executors.attempt import Attempt
from runs.models import EventKind
from runs.status import RunStatus
from tests.slurm.test_runs import assert_whole, at_step, job_of, kinds, slurm_run
from tests.waiting import wait_until
from tests.workers import WorkerProcess

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

SECONDS = 180  # for a worker to start and a job to get somewhere, on a busy machine


@pytest.fixture
def worker():
    """Starts workers and kills them after the test."""
    started = []

    def start(**environment):
        environment = {"TRAINHUB_SLURM_POLL_SECONDS": 0.2, **environment}
        started.append(WorkerProcess("one", TRAINHUB_EXECUTORS="slurm", **environment))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def lines_of(run):
    return (Attempt.of(run).directory / "metrics.jsonl").read_text().count("\n")


def jobs_with_comment(cluster, run):
    lines = cluster.run("squeue", "-h", "-t", "all", "-o", "%i|%k").stdout.splitlines()
    comment = f"TrainHub run {run.pk} attempt {run.attempt}"
    return [line.split("|")[0] for line in lines if line.endswith(f"|{comment}")]


def test_killed_worker_process_readopts_its_job_and_loses_nothing(worker, cluster):
    run = slurm_run(hyperparameters={"max_steps": 1_000_000}, nodes=2, gpu_count=4)
    first = worker()
    wait_until(at_step(run, 20), seconds=SECONDS)
    job = job_of(run)

    first.kill()
    written = lines_of(run)
    wait_until(lambda: lines_of(run) > written + 50)  # the training goes on without a worker
    second = worker()
    wait_until(at_step(run, written + 100), seconds=SECONDS)
    second.kill()
    run.refresh_from_db()

    assert (run.status, run.attempt) == (RunStatus.RUNNING, 1)
    assert kinds(run)[-1] == EventKind.READOPTED
    assert (job_of(run), jobs_with_comment(cluster, run)) == (job, [job])
    assert_whole(run)


def test_job_whose_worker_was_killed_before_it_knew_its_id_is_found_again(
    worker, cluster, tmp_path, monkeypatch
):
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "sbatch"
    slow.write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\nexec sleep 600 >/dev/null\n')
    slow.chmod(0o700)
    run = slurm_run()
    path = cluster.environment()["PATH"]
    first = worker(PATH=f"{programs}:{path}")
    wait_until(lambda: jobs_with_comment(cluster, run), seconds=SECONDS)

    first.kill()
    second = worker()
    wait_until(at_step(run, 20), seconds=SECONDS)
    second.kill()
    run.refresh_from_db()

    assert run.attempt == 1
    assert jobs_with_comment(cluster, run) == [job_of(run)]
    assert_whole(run)
