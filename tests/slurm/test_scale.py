"""What 200 jobs cost their worker, with a Slurm that only answers: nothing runs but the worker."""

import json
import statistics
import time

import pytest

from execution.executors import quiet_attempts
from execution.executors.attempt import Attempt
from execution.executors.slurm.executor import SlurmExecutor
from execution.worker import WorkerLoop
from runs.models import Run
from tests.execution.executors.slurm.imitated import ImitatedSlurm
from tests.factories import ProjectFactory, RecipeFactory, RunFactory

pytestmark = pytest.mark.django_db

JOBS = 200
TICKS = 7


@pytest.fixture
def cluster():
    """None: nothing of this module needs one."""


@pytest.fixture
def no_job_survives():
    """There is none."""


@pytest.fixture
def slurm(monkeypatch, settings):
    settings.SLURM_POLL_SECONDS = 0.0
    settings.CLUSTER_JOBS = JOBS
    return ImitatedSlurm(monkeypatch)


@pytest.fixture
def loop(slurm):
    loop = WorkerLoop(name="slurm", executors={"slurm": SlurmExecutor()}, tick_seconds=0.5)
    loop.register()
    project, recipe = ProjectFactory(), RecipeFactory(executor="slurm")
    for _number in range(JOBS):
        RunFactory(project=project, recipe=recipe, total_steps=None)
    loop.tick()
    assert len(slurm.states) == JOBS
    return loop


def begin(run):
    folder = Attempt.of(run).directory
    (folder / "launcher.json").write_text(json.dumps({"pid": 2**30, "since_boot": 0.0}))
    (folder / "heartbeat").touch()


def report(run, step):
    folder = Attempt.of(run).directory
    with (folder / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": step, "train_loss": 1 / step}) + "\n")
    with (folder / "stdout.log").open("a") as log:
        log.write(f"step {step}\n")


def ticks(loop, slurm, before):
    """The median duration of a tick in seconds, and how often Slurm was asked in one at most."""
    seconds, asked = [], []
    for number in range(TICKS):
        before(number + 1)
        slurm.commands.clear()
        began = time.monotonic()
        loop.tick()
        seconds.append(time.monotonic() - began)
        asked.append(slurm.commands.count("squeue"))
    return statistics.median(seconds), max(asked)


@pytest.mark.parametrize("state", ["PENDING", "silent", "reporting"])
def test_tick_of_200_jobs(loop, slurm, settings, monkeypatch, state):
    monkeypatch.setattr(quiet_attempts, "QUIET_SECONDS", 0.0)
    settings.SLURM_POLL_SECONDS = 60.0
    runs = list(Run.objects.all())
    if state != "PENDING":
        slurm.states = dict.fromkeys(slurm.states, "RUNNING")
        for run in runs:
            begin(run)
    loop.executors["slurm"]._jobs.ask_again()
    loop.tick()

    def before(step):
        loop.executors["slurm"]._jobs.ask_again()
        if state != "PENDING":
            for run in runs:  # a loaded machine takes long for a tick
                (Attempt.of(run).directory / "heartbeat").touch()
        if state == "reporting":
            for run in runs:
                report(run, step)

    seconds, asked = ticks(loop, slurm, before)

    print(f"{state}: {seconds:.2f} s a tick, all of its work included")  # noqa: T201
    assert asked <= 1
    if state == "reporting":
        assert Run.objects.filter(step=TICKS).count() == JOBS
