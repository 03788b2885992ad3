"""A worker that starts again under its name: what became of its runs uses up no restart."""

import os
import shutil
import signal

import pytest

from execution.executors.attempt import Attempt
from execution.worker import WorkerLoop
from runs.actions import cancel_run
from runs.models import EventKind
from runs.status import RunStatus
from tests.execution.worker_loops import (
    at_step,
    process_run,
    script_run,
    tick_until,
    worker_loop,
)
from tests.factories import running
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]


def registered_again():
    loop = worker_loop()
    loop.register()
    return loop


def at_work(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))
    return run, Attempt.of(run)


def restarted(loop, run):
    """Its attempt and how many restarts it has used, once it has begun another attempt."""
    number = run.attempt

    def has():
        run.refresh_from_db()
        return run.attempt > number

    tick_until(loop, has)
    return run.attempt, run.restart_count


def host_goes_down(attempt):
    """Everything is killed at once, the worker too."""
    everyone = [attempt._launcher(), *attempt.tree()]
    for process in everyone:
        process.kill()
    wait_until(lambda: not any(lives(process) for process in everyone))


def test_training_that_went_with_its_host_uses_up_no_restart(loop):
    run, attempt = at_work(loop)
    host_goes_down(attempt)

    assert restarted(registered_again(), run) == (2, 0)
    assert loop.name in str(run.events.get(kind=EventKind.RECOVERED).reason)


def test_training_whose_files_went_with_its_host_uses_up_no_restart(loop):
    run, attempt = at_work(loop)
    host_goes_down(attempt)
    shutil.rmtree(attempt.directory.parent)

    assert restarted(registered_again(), run) == (2, 0)


def test_training_that_a_shutdown_ended_uses_up_no_restart(loop):
    """The system sends SIGTERM to every process of the worker's service."""
    run, attempt = at_work(loop)
    os.kill(attempt.process().pid, signal.SIGTERM)
    wait_until(lambda: attempt.is_known_to_be_gone)

    assert restarted(registered_again(), run) == (2, 0)


def test_training_that_was_killed_while_its_worker_was_away_uses_up_a_restart(loop):
    run, attempt = at_work(loop)
    attempt.process().kill()
    wait_until(lambda: attempt.is_known_to_be_gone)

    assert restarted(registered_again(), run) == (2, 1)


def test_training_that_goes_after_its_readoption_uses_up_a_restart(loop):
    run, attempt = at_work(loop)
    again = registered_again()
    again.tick()
    host_goes_down(attempt)

    assert restarted(again, run) == (2, 1)


def test_worker_that_died_before_it_launched_the_attempt_loses_nothing(loop, monkeypatch):
    class Death(BaseException):
        pass

    def die(self):
        raise Death

    run = script_run("print('ran')")
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "launch", die)
        with pytest.raises(Death):
            loop.tick()

    tick_until(registered_again(), lambda: run.log_lines.filter(message="ran").exists())

    run.refresh_from_db()
    assert (run.attempt, run.restart_count) == (1, 0)


def test_run_cancelled_while_its_worker_starts_is_left_alone(loop, monkeypatch):
    cancelled, other = running(loop.worker), running(loop.worker)
    held_runs = WorkerLoop.held_runs

    def held_before_the_cancel(self):
        runs = held_runs(self)
        cancel_run(cancelled, by=None)
        return runs

    monkeypatch.setattr(WorkerLoop, "held_runs", held_before_the_cancel)

    registered_again()

    cancelled.refresh_from_db()
    other.refresh_from_db()
    assert (cancelled.status, other.attempt) == (RunStatus.CANCELLED, 2)
