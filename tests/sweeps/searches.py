"""Sweeps, and runs whose metric is a function of their hyperparameters and steps."""

import time

from django.db import transaction

from execution.executors.simulated import SimulatedExecutor
from execution.worker import WorkerLoop
from metrics.points import Point
from metrics.recording import record_metrics
from runs.executors import WorkState, WorkStatus
from runs.models import Recipe, Run
from runs.status import RunStatus
from sweeps.actions import create_sweep
from sweeps.driving import SweepDriver
from tests.factories import ProjectFactory
from tests.waiting import wait_until

LINE = {"x": {"type": "float", "low": -10, "high": 10}}
PLANE = LINE | {"y": {"type": "float", "low": -10, "high": 10}}
METRIC = "eval/loss"


def parabola(params, step=0):
    """Least at (3, -2)."""
    return (params["x"] - 3) ** 2 + (params.get("y", -2) + 2) ** 2


def sweep_of(space=None, **fields):
    project = fields.pop("project", None) or ProjectFactory()
    fields = {"metric": METRIC, "method": "random", "seed": 1, "name": "search",
              "recipe": Recipe.objects.get(name="simulated")} | fields  # fmt: skip
    return create_sweep(project, by=fields.pop("by", None), search_space=space or LINE, **fields)


def pass_over(sweep):
    """One pass of a worker over all sweeps."""
    SweepDriver().work()
    sweep.refresh_from_db()
    return sweep


def trials(sweep):
    return list(sweep.trials.select_related("run").order_by("number"))


def report(run, step, value):
    run.refresh_from_db()
    now_ms = int(time.time() * 1000)
    record_metrics(run, [Point(METRIC, step, value, now_ms)])


def end(run, status=RunStatus.COMPLETED, value=None):
    if value is not None:
        report(run, 100, value)
    run.refresh_from_db()
    if run.status == RunStatus.QUEUED:
        run.transition(RunStatus.RUNNING)
    run.transition(status)


class Imitation(SimulatedExecutor):
    """Reports the metric every ten steps until ``max_steps``."""

    def __init__(self, value_of) -> None:
        super().__init__()
        self.value_of = value_of

    def poll(self, run, worker):
        with transaction.atomic():
            locked = Run.objects.lock_held_by(worker, run.pk)
            if locked.executor_state.get("attempt") != locked.attempt:
                return WorkStatus(WorkState.ABSENT)
            if "ended" in locked.executor_state:
                return WorkStatus(WorkState.STOPPED)
            step, steps = locked.step + 10, locked.hyperparameters["max_steps"]
            report(locked, step, self.value_of(locked.hyperparameters, step))
            done = step >= steps
            return WorkStatus(WorkState.FINISHED if done else WorkState.WORKING)


def worked_off(sweep, value_of, *, loops=1):
    """The sweep after workers have done all of it."""
    workers = []
    for number in range(loops):
        loop = WorkerLoop(
            name=f"worker-{number}",
            slots=8,
            executors={"simulated": Imitation(value_of)},
            tick_seconds=0.001,
        )
        loop.register()
        workers.append(loop)

    def is_over():
        for loop in workers:
            loop.tick()
        sweep.refresh_from_db()
        return sweep.is_over

    wait_until(is_over, every=0)
    return sweep
