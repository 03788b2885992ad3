"""Sweeps with workers that are processes, and die."""

import threading

import pytest
from django.db import close_old_connections, connection

from runs.models import Run
from runs.status import RunStatus
from sweeps.driving import SweepDriver
from sweeps.models import SweepStatus, TrialState
from tests.sweeps.searches import sweep_of, trials
from tests.waiting import wait_until
from tests.workers import WorkerProcess

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


def test_workers_at_once_create_each_trial_once():
    sweep = sweep_of(max_parallel=30, max_trials=30)
    barrier, errors = threading.Barrier(4), []

    def work():
        try:
            barrier.wait()
            for _pass in range(8):
                SweepDriver().work()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()

    assert errors == []
    found = trials(sweep)
    assert [trial.number for trial in found] == list(range(30))
    assert len({trial.run_id for trial in found}) == Run.objects.count() == 30
    assert len({trial.params["x"] for trial in found}) == 30


def test_sweep_goes_on_after_its_worker_is_killed():
    sweep = sweep_of(
        max_parallel=4,
        max_trials=10,
        metric="eval_loss",
        pruning="asha",
        min_steps=20,
        hyperparameters={"max_steps": 60, "eval_steps": 10, "logging_steps": 10},
    )
    speed = {"TRAINHUB_SIMULATION_STEPS_PER_SECOND": 200, "TRAINHUB_WORKER_LEASE_SECONDS": 2}

    def is_over():
        sweep.refresh_from_db()
        return sweep.is_over

    worker = WorkerProcess("one", **speed).ready()
    wait_until(lambda: sweep.trials.count() > 5)
    worker.kill()
    workers = [WorkerProcess(name, **speed).ready() for name in ("one", "two")]
    try:
        wait_until(is_over)
        wait_until(lambda: not Run.objects.active().exists())
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()

    found = trials(sweep)
    assert sweep.status == SweepStatus.COMPLETED
    assert [trial.number for trial in found] == list(range(10))
    assert len({trial.run_id for trial in found}) == Run.objects.count() == 10
    ends = {
        (TrialState.COMPLETE, RunStatus.COMPLETED),
        (TrialState.PRUNED, RunStatus.CANCELLED),
        (TrialState.PRUNED, RunStatus.COMPLETED),
    }
    assert {(trial.state, trial.run.status) for trial in found} <= ends
    assert sweep.best_trial is not None
