"""Runs pass while workers, launchers, trainings and whole hosts are killed at random."""

import os
import random
import secrets

import pytest
from django.conf import settings

from execution.executors import attempt as attempts
from execution.scheduling.gpu_use import GpuUse
from execution.scheduling.host_devices import HostDevices
from runs.models import Run, Worker
from tests.chaos.audit import problems_of
from tests.chaos.kills import HOST, Kills, Unit, launchers, trainings
from tests.chaos.plan import Creator, Planned, Sizes, planned_runs
from tests.chaos.storm import Storm, all_accounted, tell
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

GPUS = 12
SIZES = Sizes(((1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (4, 1)), capacity=GPUS, quota=8)
LEASE_SECONDS = 4.0
TIDY_SECONDS = 30  # execution/chores.py
STRIKES_PER_SECOND = 1.5
ENVIRONMENT = {
    "TRAINHUB_WORKER_LEASE_SECONDS": LEASE_SECONDS,
    "TRAINHUB_WORKER_TICK_SECONDS": 0.1,
    "TRAINHUB_EXECUTORS": "process",
    "TRAINHUB_GPUS": ",".join(map(str, range(GPUS))),
    "TRAINHUB_HOST_METRICS_SECONDS": 2,
}
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
RUNS = int(os.environ.get("CHAOS_RUNS") or 100)


@pytest.fixture
def ledger(tmp_path):
    folder = tmp_path / "ledger"
    folder.mkdir()
    return folder


@pytest.fixture
def units():
    """Workers of one host; the last one stops its trainings when it is asked to leave."""
    started = [
        Unit("one", "--slots", "8", **ENVIRONMENT),
        Unit("two", "--slots", "8", **ENVIRONMENT),
        Unit("three", "--slots", "8", "--on-exit", "stop", **ENVIRONMENT),
    ]
    yield started
    for unit in started:
        if unit.runs:
            unit.worker.kill()
    for victim in [*launchers(), *trainings()]:
        victim.process.kill()


def test_runs_are_over_honestly_after_a_minute_of_kills(units, ledger):
    print(f"CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    creator = Creator("process", SIZES, ledger, pause_seconds=0.02)
    planned = planned_runs(chance, RUNS, SECONDS, SIZES, steps=(25, 100))
    kills = Kills(chance, units, LEASE_SECONDS, {HOST: (1, lambda: kills.strike_host())})
    strikes = int(SECONDS * STRIKES_PER_SECOND)
    storm = Storm(chance, planned, creator, kills, units, seconds=SECONDS, strikes=strikes)

    storm.blow()
    storm.settle(seconds=600)

    after = Planned(len(planned), 0.0, "completes", 5, GPUS, 1, 0, 0.0, 1)
    creator.create(after)  # needs every GPU
    wait_until(lambda: Run.objects.get(pk=after.run.pk).is_terminal, seconds=180)
    wait_until(all_accounted)
    wait_until(lambda: not [*launchers(), *trainings()], seconds=TIDY_SECONDS + 60)
    tell(storm, units)
    problems = [
        *storm.lulls(),
        *storm.problems,
        *problems_of([*planned, after], ledger, kills.done),
    ]
    problems += [*gpu_problems(creator), *file_problems()]
    for unit in units:
        problems += unit.problems()
    assert not problems, "\n".join(problems)


def gpu_problems(creator):
    use = GpuUse.read(7.0)
    if use.in_pool(creator.pool.name):
        yield f"{use.gpus} are in use"
    for worker in Worker.objects.all():
        if HostDevices(worker).free != GPUS:
            yield f"{worker.name}: {HostDevices(worker).free} GPUs of the host are free"


def file_problems():
    left = [name for name, found in attempts.local_runs().items() if found]
    if left:
        yield f"files of runs are left in {settings.WORK_DIR}: {left}"
