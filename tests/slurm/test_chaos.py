"""Runs pass on a real Slurm while its nodes and controller, workers and trainings are killed."""

import os
import random
import secrets
import signal
import time

import pytest

from execution.scheduling.gpu_use import GpuUse
from runs.models import Run
from tests.chaos.audit import problems_of
from tests.chaos.kills import Kills, Unit, launchers, trainings
from tests.chaos.plan import Creator, Planned, Sizes, planned_runs
from tests.chaos.storm import Storm, all_accounted, tell
from tests.slurm.cluster import GPUS, NODES
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

ALL_GPUS = GPUS * len(NODES)
SIZES = Sizes(
    ((1, 1), (1, 1), (1, 1), (2, 1), (2, 2), (4, 2)), capacity=ALL_GPUS, quota=ALL_GPUS - 2
)
LEASE_SECONDS = 4.0
STRIKES_PER_SECOND = 0.8
ENVIRONMENT = {
    "TRAINHUB_WORKER_LEASE_SECONDS": LEASE_SECONDS,
    "TRAINHUB_WORKER_TICK_SECONDS": 0.1,
    "TRAINHUB_EXECUTORS": "slurm",
    "TRAINHUB_SLURM_POLL_SECONDS": 0.5,
}
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
RUNS = int(os.environ.get("CHAOS_RUNS") or 40)


class Daemon:
    """The controller or a node, which is started again some seconds after it was killed."""

    def __init__(self, start, stop):
        self._start, self._stop = start, stop
        self._back_at = None  # monotonic seconds

    def strike(self, away, *arguments):
        """False if it is down already."""
        if not self.runs:
            return False
        self._stop(*arguments)
        self._back_at = time.monotonic() + away
        return True

    def keep(self):
        if not self.runs and time.monotonic() >= self._back_at:
            self.restore()

    def restore(self):
        if not self.runs:
            self._back_at = None
            self._start()

    @property
    def runs(self):
        return self._back_at is None


class Operator:
    """Resumes nodes that Slurm has drained: a controller that was killed before it had written down
    its newest jobs gives their ids to others, and drains the nodes that run both."""

    EVERY_SECONDS = 2.0

    def __init__(self, cluster):
        self._cluster = cluster
        self._next = 0.0  # monotonic seconds

    def keep(self):
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.EVERY_SECONDS
        told = self._cluster.run("sinfo", "-h", "-N", "-o", "%N %T", check=False).stdout
        for line in told.splitlines():
            node, _, state = line.partition(" ")
            if "drain" in state:
                update = ["update", f"nodename={node}", "state=resume"]
                self._cluster.run("scontrol", *update, check=False)


@pytest.fixture
def ledger(tmp_path):
    folder = tmp_path / "ledger"
    folder.mkdir()
    return folder


@pytest.fixture
def daemons(cluster):
    made = {
        node: Daemon(
            lambda node=node: cluster.start_node(node), lambda node=node: cluster.kill_node(node)
        )
        for node in NODES
    }
    made["controller"] = Daemon(cluster.start_controller, cluster.stop_controller)
    yield made
    for daemon in made.values():
        daemon.restore()


@pytest.fixture
def units():
    started = [Unit("one", **ENVIRONMENT), Unit("two", **ENVIRONMENT)]
    yield started
    for unit in started:
        if unit.runs:
            unit.worker.kill()


def strikes_of(chance, daemons):
    """Those at the cluster: kind -> weight, what is done."""

    def node():
        return daemons[chance.choice(NODES)].strike(chance.uniform(1.0, 6.0))

    def controller(number):
        return lambda: daemons["controller"].strike(chance.uniform(0.5, 5.0), number)

    return {
        "SIGKILL node": (3, node),
        "SIGKILL controller": (2, controller(signal.SIGKILL)),
        "SIGTERM controller": (2, controller(signal.SIGTERM)),
    }


def test_runs_are_over_honestly_after_a_minute_of_kills(cluster, daemons, units, ledger):
    print(f"CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    creator = Creator("slurm", SIZES, ledger, pause_seconds=0.03)
    planned = planned_runs(chance, RUNS, SECONDS, SIZES, steps=(30, 150))
    kills = Kills(chance, units, LEASE_SECONDS, strikes_of(chance, daemons))
    strikes = int(SECONDS * STRIKES_PER_SECOND)
    kept = [*units, *daemons.values(), Operator(cluster)]
    storm = Storm(
        chance,
        planned,
        creator,
        kills,
        kept,
        seconds=SECONDS,
        strikes=strikes,
        counts_gpus=False,
    )

    storm.blow()
    storm.settle(seconds=600)

    after = Planned(len(planned), 0.0, "completes", 5, ALL_GPUS, len(NODES), 0, 0.0, 1)
    creator.create(after)  # needs every GPU
    wait_until(lambda: Run.objects.get(pk=after.run.pk).is_terminal, seconds=180)
    wait_until(all_accounted)
    wait_until(lambda: not [*launchers(), *trainings()], seconds=120)
    tell(storm, units)
    problems = [
        *storm.lulls(),
        *storm.problems,
        *problems_of([*planned, after], ledger, kills.done),
    ]
    use = GpuUse.read(7.0)
    problems += [f"{use.gpus} are in use"] if use.in_pool(creator.pool.name) else []
    for unit in units:
        problems += unit.problems()
    wait_until(cluster.is_idle, or_say=cluster.run("squeue").stdout)
    assert not problems, "\n".join(problems)
