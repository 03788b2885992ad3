"""The worker's loop, in the test process."""

import os
import threading
import time
from datetime import timedelta

import pytest
from django.db import ProgrammingError, connection
from django.utils import timezone

from artifacts.checkpoints import latest_sound_checkpoint
from execution import pauses
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.executors.simulated import SimulatedExecutor
from execution.winding_down import WindDown
from execution.worker import Replaced, WorkerLoop
from runs.actions import cancel_run
from runs.executors import CannotStart
from runs.models import EventKind, Run, StopKind, Worker
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.execution.worker_loops import (
    at_step,
    kinds,
    over,
    process_run,
    script_run,
    tick_until,
    worker_loop,
)
from tests.factories import RecipeFactory, RunFactory, WorkerFactory, running
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]
with_threads = pytest.mark.django_db(transaction=True, serialized_rollback=True)

# --- advancing runs --------------------------------------------------------------------------


def test_ticks_advance_a_run_from_the_queue_to_its_end(loop):
    run = RunFactory()

    tick_until(loop, lambda: over(run))

    assert (run.status, run.progress, run.step) == (RunStatus.COMPLETED, 1.0, 100)
    assert kinds(run) == [EventKind.CLAIMED, EventKind.STATUS]
    assert run.worker is None


def test_claimed_run_works_in_the_same_tick(loop):
    run = RunFactory()

    loop.tick()

    assert at_step(run, 20)


def test_worker_holds_at_most_its_number_of_slots():
    loop = WorkerLoop(name="small", slots=2, executors={"simulated": SimulatedExecutor()})
    loop.register()
    RunFactory.create_batch(3)

    loop.tick()
    loop.tick()

    assert Run.objects.running().count() == 2


def test_draining_worker_goes_on_with_its_runs_and_claims_no_others(loop):
    held = RunFactory()
    loop.tick()
    loop.worker.drain(by=None)
    waiting = RunFactory()

    tick_until(loop, lambda: over(held))

    assert held.status == RunStatus.COMPLETED
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.QUEUED


def test_worker_that_starts_again_still_drains(loop):
    loop.worker.drain(by=None)
    waiting = RunFactory()

    again = worker_loop(loop.name)
    again.register()
    again.tick()

    waiting.refresh_from_db()
    assert waiting.status == RunStatus.QUEUED


def test_diverging_run_fails_with_its_reason(loop):
    run = RunFactory(hyperparameters={"max_steps": 1000, "learning_rate": 1.0})

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.FAILED
    assert str(run.step) in str(run.status_reason)


class FailingExecutor(SimulatedExecutor):
    """Raises ``error`` for the runs named ``bad``."""

    def __init__(self, error, where="poll"):
        super().__init__(steps_per_poll=20)
        self.error = error
        self.where = where

    def _may_raise(self, run, where):
        if run.name == "bad" and self.where == where:
            raise self.error

    def start(self, run, worker):
        self._may_raise(run, "start")
        super().start(run, worker)

    def poll(self, run, worker):
        self._may_raise(run, "poll")
        return super().poll(run, worker)


@pytest.mark.parametrize(
    "error", [OSError("the disk is full"), ProgrammingError("no such column"), KeyError("x")]
)
def test_error_of_one_run_does_not_stop_the_others(error, caplog):
    loop = worker_loop(simulated=FailingExecutor(error))
    loop.register()
    bad, good = RunFactory(name="bad", priority=1), RunFactory()

    tick_until(loop, lambda: over(good))

    bad.refresh_from_db()
    assert good.status == RunStatus.COMPLETED
    assert bad.status == RunStatus.RUNNING
    assert bad.pk in caplog.text


def test_run_completes_after_a_temporary_error():
    failing = FailingExecutor(OSError("the storage is unreachable"))
    loop = worker_loop(simulated=failing)
    loop.register()
    run = RunFactory(name="bad")
    loop.tick()
    failing.where = "nowhere"

    tick_until(loop, lambda: over(run))

    assert (run.status, run.attempt) == (RunStatus.COMPLETED, 1)


def test_error_of_a_run_is_noted_once_until_it_is_over(monkeypatch):
    monkeypatch.setattr(pauses, "FIRST_SECONDS", 0.0)
    failing = FailingExecutor(OSError("the storage is unreachable"))
    loop = worker_loop(simulated=failing)
    loop.register()
    run = RunFactory(name="bad")

    for _ in range(3):
        loop.tick()

    run.refresh_from_db()
    assert "OSError: the storage is unreachable" in str(run.status_reason)
    assert kinds(run).count(EventKind.FAULT) == 1
    failing.where = "nowhere"
    loop.tick()
    assert at_step(run, 1)
    assert run.status_reason == ""


def test_run_whose_work_cannot_be_polled_is_stopped_all_the_same():
    polled = ProcessExecutor()
    loop = WorkerLoop(name="one", executors={"process": polled})
    loop.register()
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))
    process = Attempt.of(run).process()
    polled.poll = lambda run, worker: (_ for _ in ()).throw(OSError("broken"))
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: not lives(process))

    del polled.poll
    tick_until(loop, lambda: over(run))
    assert run.status == RunStatus.CANCELLED


def test_run_that_cannot_start_fails_with_the_reason():
    loop = worker_loop(
        simulated=FailingExecutor(CannotStart("The checkpoint is damaged."), "start")
    )
    loop.register()
    run = RunFactory(name="bad")

    loop.tick()

    assert over(run)
    assert (run.status, run.status_reason) == (RunStatus.FAILED, "The checkpoint is damaged.")


def test_run_that_was_cancelled_meanwhile_is_not_advanced(loop):
    run = RunFactory()
    loop.tick()
    [mine] = loop.held_runs()
    cancel_run(run, by=None)

    loop.driver.advance(mine)

    assert over(run)
    assert run.status == RunStatus.CANCELLED
    assert run.step == 20


# --- other workers that died -----------------------------------------------------------------


@pytest.fixture
def dead_worker(settings):
    settings.WORKER_LEASE_SECONDS = 30
    return WorkerFactory(name="dead", last_heartbeat=timezone.now() - timedelta(seconds=31))


def test_run_of_a_dead_worker_is_recovered(loop, dead_worker):
    run = running(dead_worker, step=40)

    loop.tick()

    run.refresh_from_db()
    assert (run.attempt, run.restart_count, run.worker) == (2, 0, loop.worker)
    recovered = run.events.get(kind=EventKind.RECOVERED)
    assert recovered.worker == dead_worker
    assert "dead" in str(recovered.reason)


def test_run_of_a_live_worker_is_not_reaped(loop):
    run = running(WorkerFactory(host=os.uname().nodename, pid=2**22 - 1))

    loop.tick()

    run.refresh_from_db()
    assert run.attempt == 1
    assert run.worker != loop.worker


def test_worker_reaps_only_runs_that_it_can_execute(dead_worker):
    loop = WorkerLoop(name="simulating", executors={"simulated": SimulatedExecutor()})
    loop.register()
    run = running(dead_worker, recipe=RecipeFactory())

    loop.tick()

    run.refresh_from_db()
    assert run.worker == dead_worker


def test_run_of_a_dead_worker_is_recovered_though_no_restart_is_left(loop, dead_worker):
    run = running(dead_worker, restart_count=3, max_restarts=3, step=40)

    loop.tick()

    run.refresh_from_db()
    assert (run.status, run.attempt, run.restart_count) == (RunStatus.RUNNING, 2, 3)


def test_stopping_simulated_run_of_a_dead_worker_is_cancelled_at_its_step(loop, dead_worker):
    run = running(dead_worker, step=40)
    run.request_stop(StopKind.CANCEL, by=None)

    loop.tick()

    assert over(run)
    assert run.status == RunStatus.CANCELLED
    assert run.artifacts.checkpoints().get().step == 40


def test_stopping_process_of_a_dead_worker_is_killed_and_keeps_its_checkpoint(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 15))
    process = Attempt.of(run).process()
    cancel_run(run, by=None, wait_seconds=0)
    Worker.objects.filter(pk=loop.worker.pk).update(
        last_heartbeat=timezone.now() - timedelta(hours=1)
    )
    other = worker_loop("other")
    other.register()

    tick_until(other, lambda: over(run))

    assert run.status == RunStatus.CANCELLED
    assert not lives(process)
    assert latest_sound_checkpoint(run).step >= 10
    assert kinds(run).count(EventKind.RECOVERED) == 1


# --- restarts --------------------------------------------------------------------------------


def test_run_without_restarts_left_fails_with_the_reason_and_the_exit_code(loop):
    run = script_run("raise SystemExit(137)")
    Run.objects.filter(pk=run.pk).update(max_restarts=1)

    tick_until(loop, lambda: over(run))

    assert (run.status, run.attempt, run.restart_count) == (RunStatus.FAILED, 2, 1)
    assert run.exit_code == 137
    assert "137" in str(run.status_reason)
    assert "1/1" in str(run.status_reason)


def test_run_that_saves_a_later_checkpoint_before_each_death_does_not_run_out_of_restarts(loop):
    script = (
        "import os, pathlib, time\n"
        "number = int(os.environ['TRAINHUB_ATTEMPT'])\n"
        "folder = pathlib.Path(os.environ['TRAINHUB_CHECKPOINT_DIR'])\n"
        "(folder / f'step-{min(number, 3) * 10}.pt').write_text(str(number))\n"
        "time.sleep(0.2)\n"  # what is written right before a kill does not count
        "raise SystemExit(137)"
    )
    run = script_run(script)
    Run.objects.filter(pk=run.pk).update(max_restarts=1)

    tick_until(loop, lambda: over(run))

    # Three attempts got further. The fourth, which did not, is the end.
    assert (run.status, run.attempt, run.restart_count) == (RunStatus.FAILED, 4, 1)


# --- restarts under the same name ------------------------------------------------------------


def test_restarted_worker_continues_simulated_runs_as_another_attempt(loop):
    run = RunFactory()
    loop.tick()

    again = worker_loop()
    again.register()
    tick_until(again, lambda: over(run))

    assert (run.status, run.attempt) == (RunStatus.COMPLETED, 2)
    assert run.series.get(key="train_loss").count == 100


def test_restarted_worker_readopts_running_processes(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 5))
    process = Attempt.of(run).process()

    again = worker_loop()
    again.register()
    tick_until(again, lambda: at_step(run, 10))

    assert run.attempt == 1
    assert Attempt.of(run).process() == process
    assert EventKind.READOPTED in kinds(run)


def test_replaced_worker_of_the_same_name_holds_no_runs(loop):
    run = RunFactory()
    loop.tick()
    [stale] = loop.held_runs()
    worker_loop().register()

    loop.driver.advance(stale)

    assert loop.held_runs() == []
    assert at_step(run, 20)
    assert run.step == 20


def test_registering_deletes_workers_that_stopped_long_ago(loop):
    WorkerFactory(name="old", stopped_at=timezone.now() - timedelta(days=30))
    holding = WorkerFactory(name="holding", stopped_at=timezone.now() - timedelta(days=30))
    running(holding)

    worker_loop("new").register()

    assert set(Worker.objects.values_list("name", flat=True)) == {"one", "holding", "new"}


# --- stopping --------------------------------------------------------------------------------


def test_cancelled_process_keeps_a_checkpoint_of_its_current_step(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 13))
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    kept = run.artifacts.kept_at_cancel().get()
    assert (run.status, run.exit_code) == (RunStatus.CANCELLED, 143)
    assert kept.step == run.step
    assert kept.problem() is None
    assert not Attempt.of(run).directory.exists()


STUBBORN = (
    "import os, pathlib, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "folder = pathlib.Path(os.environ['TRAINHUB_CHECKPOINT_DIR'])\n"
    "{body}\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)"
)


def test_script_that_is_too_slow_is_killed_and_the_reason_names_its_checkpoint(loop):
    body = "(folder / 'step-7.pt').write_text('x')"
    run = script_run(STUBBORN.format(body=body), stop_grace_seconds=0)
    tick_until(loop, lambda: run.artifacts.checkpoints().exists())
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    assert (run.status, run.exit_code) == (RunStatus.CANCELLED, -9)
    assert "7" in str(run.status_reason)
    assert run.artifacts.kept_at_cancel().get().step == 7


def test_script_that_is_too_slow_and_saved_nothing_keeps_no_checkpoint(loop):
    run = script_run(STUBBORN.format(body=""), stop_grace_seconds=0)
    tick_until(loop, lambda: run.log_lines.exists())
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.CANCELLED
    assert not run.artifacts.checkpoints().exists()
    assert run.status_reason


def test_grace_period_starts_when_the_script_is_asked_to_stop(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 13))
    cancel_run(run, by=None, wait_seconds=0)
    # The worker was down for longer than the grace period: the script has not been asked yet.
    Run.objects.filter(pk=run.pk).update(stop_requested_at=timezone.now() - timedelta(hours=1))

    tick_until(loop, lambda: over(run))

    assert run.exit_code == 143
    assert run.artifacts.kept_at_cancel().get().step == run.step


def test_late_stop_of_an_attempt_does_not_shorten_the_grace_period_of_the_next(loop, monkeypatch):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 13))
    [earlier] = loop.held_runs()
    Attempt.of(run).process().kill()
    tick_until(loop, lambda: run.log_lines.filter(message__startswith="attempt 2 ").exists())
    loop.driver.request_stop(earlier)
    now, later = time.monotonic, earlier.recipe.stop_grace_seconds + 1
    monkeypatch.setattr(time, "monotonic", lambda: now() + later)
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    assert run.exit_code == 143
    assert run.artifacts.kept_at_cancel().get().step == run.step


def test_run_that_is_to_stop_before_its_start_is_not_started(loop):
    run = process_run(status=RunStatus.RUNNING)
    run.change(worker=loop.worker)
    cancel_run(run, by=None, wait_seconds=0)

    loop.tick()

    assert over(run)
    assert run.status == RunStatus.CANCELLED
    assert not Attempt.of(run).directory.exists()


# --- leaving ---------------------------------------------------------------------------------


def test_leaving_worker_releases_simulated_runs_without_a_restart(loop):
    run = RunFactory()
    loop.tick()

    loop.leave(stop_work=False, stop_seconds=1)

    run.refresh_from_db()
    assert (run.status, run.worker, run.attempt, run.restart_count) == (
        RunStatus.RUNNING,
        None,
        1,
        0,
    )
    assert kinds(run)[-1] == EventKind.RELEASED
    assert loop.worker.stopped_at is None
    assert Worker.objects.get(pk=loop.worker.pk).stopped_at is not None


def test_leaving_worker_leaves_processes_to_its_next_start(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))

    loop.leave(stop_work=False, stop_seconds=1)
    worker_loop("other").register()
    again = worker_loop()
    again.register()
    tick_until(again, lambda: at_step(run, 6))

    assert (run.attempt, run.worker) == (1, loop.worker)


def test_processes_of_a_worker_that_left_are_reaped_after_its_lease(loop, settings):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))
    loop.leave(stop_work=False, stop_seconds=1)
    other = worker_loop("other")
    other.register()
    other.tick()
    run.refresh_from_db()
    assert run.worker == loop.worker

    Worker.objects.filter(pk=loop.worker.pk).update(
        last_heartbeat=timezone.now() - timedelta(hours=1)
    )
    other.tick()

    run.refresh_from_db()
    assert (run.attempt, run.worker) == (2, other.worker)


def test_worker_that_stops_its_work_saves_a_checkpoint_without_a_restart(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 13))

    loop.leave(stop_work=True, stop_seconds=30)

    run.refresh_from_db()
    assert (run.status, run.worker) == (RunStatus.RUNNING, None)
    assert (run.attempt, run.restart_count) == (2, 0)
    assert latest_sound_checkpoint(run).step == run.step


def test_run_that_was_stopped_with_its_worker_continues_with_the_next_step(loop):
    run = process_run(hyperparameters={"max_steps": 40, "pause_seconds": 0.01}, total_steps=40)
    tick_until(loop, lambda: at_step(run, 13))
    loop.leave(stop_work=True, stop_seconds=30)
    again = worker_loop()
    again.register()

    tick_until(again, lambda: over(run))

    assert run.status == RunStatus.COMPLETED
    assert run.series.get(key="train_loss").count == 40
    assert EventKind.REWOUND not in kinds(run)


def test_worker_that_stops_its_work_kills_slow_processes(loop):
    run = script_run(STUBBORN.format(body=""))
    tick_until(loop, lambda: run.log_lines.exists())
    process = Attempt.of(run).process()

    loop.leave(stop_work=True, stop_seconds=0)

    run.refresh_from_db()
    assert not lives(process)
    assert (run.status, run.worker, run.attempt) == (RunStatus.RUNNING, None, 2)


@pytest.mark.parametrize(("code", "status"), [(0, RunStatus.COMPLETED), (3, RunStatus.FAILED)])
def test_process_that_ended_by_itself_is_settled_while_the_worker_leaves(loop, code, status):
    run = script_run(f"raise SystemExit({code})")
    loop.tick()
    attempt = Attempt.of(run)
    wait_until(attempt.ending)

    loop.leave(stop_work=True, stop_seconds=30)

    assert over(run)
    assert (run.status, run.exit_code) == (status, code)


def test_cancelled_run_is_settled_while_the_worker_leaves(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))
    cancel_run(run, by=None, wait_seconds=0)

    loop.leave(stop_work=True, stop_seconds=30)

    assert over(run)
    assert run.status == RunStatus.CANCELLED


def test_run_lost_while_the_worker_leaves_does_not_block_the_others(loop):
    lost, kept = process_run(), process_run()
    tick_until(loop, lambda: at_step(lost, 3) and at_step(kept, 3))
    runs = loop.held_runs()
    lost.change(worker=WorkerFactory())

    WindDown(loop.driver, loop.faults, loop.tasks).stop_all(runs, seconds=30)

    kept.refresh_from_db()
    assert kept.worker is None


# --- heartbeat -------------------------------------------------------------------------------


class Slow(SimulatedExecutor):
    """Its poll blocks until ``resume`` is set."""

    def __init__(self):
        super().__init__(steps_per_poll=1)
        self.polled = threading.Event()
        self.resume = threading.Event()

    def poll(self, run, worker):
        self.polled.set()
        assert self.resume.wait(timeout=60)
        return super().poll(run, worker)


@with_threads
def test_heartbeat_keeps_the_lease_during_a_long_poll(settings):
    settings.WORKER_LEASE_SECONDS = 1.0
    slow = Slow()
    loop = worker_loop(simulated=slow)
    run = RunFactory()
    lost, beats = [], set()

    def watch():
        try:
            assert slow.polled.wait(timeout=60)
            first = Worker.objects.get().last_heartbeat

            def first_lease_is_long_expired():
                beats.add(Worker.objects.get().last_heartbeat)
                lost.extend(Run.objects.lost())
                return max(beats) - first > timedelta(seconds=2)

            wait_until(first_lease_is_long_expired)
        finally:
            loop.stopping.set()
            slow.resume.set()

    results = in_parallel(loop.run, watch)

    assert results == [None, None]
    assert lost == []
    assert len(beats) >= 5
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING


class Copying(ProcessExecutor):
    """Copies for as long as a test wants, as an executor with a large checkpoint does, when it has
    seen the run of this name working."""

    def __init__(self, name):
        self.name = name
        self.copying = threading.Event()
        self.resume = threading.Event()

    def poll(self, run, worker):
        work = super().poll(run, worker)
        if run.name == self.name and run.step >= 3 and not self.resume.is_set():
            self.copying.set()
            assert self.resume.wait(timeout=60)
        return work


@with_threads
@pytest.mark.parametrize(
    ("stopped", "readopted"), [("other", False), ("copying", False), ("copying", True)]
)
def test_slow_copy_delays_no_stop(stopped, readopted):
    executor = Copying("copying")
    loop = WorkerLoop(name="one", slots=2, executors={"process": executor}, tick_seconds=0.01)
    runs = {name: process_run(name=name) for name in ("copying", "other")}
    run = runs[stopped]
    if readopted:  # then the worker's first look at it takes that long
        before = worker_loop()
        before.register()
        tick_until(before, lambda: at_step(run, 3))

    def stop():
        try:
            assert executor.copying.wait(timeout=60)
            wait_until(lambda: at_step(runs["other"], 3))
            process = Attempt.of(run).process()
            cancel_run(run, by=None, wait_seconds=0)
            wait_until(lambda: not lives(process))
            was_copying = not executor.resume.is_set()
            if stopped == "other":
                wait_until(lambda: over(run))
            executor.resume.set()
            wait_until(lambda: over(run))
            return was_copying
        finally:
            executor.resume.set()
            loop.stopping.set()

    [nothing, was_copying] = in_parallel(lambda: loop.run(stop_work=True), stop)

    assert nothing is None
    assert was_copying is True
    assert run.status == RunStatus.CANCELLED
    assert run.artifacts.kept_at_cancel().get().step == run.step


@with_threads
def test_replaced_worker_leaves_its_runs_to_the_new_one(settings):
    settings.WORKER_LEASE_SECONDS = 0.4
    loop, successor = worker_loop(steps_per_poll=1), worker_loop(steps_per_poll=1)
    run = RunFactory(hyperparameters={"max_steps": 10_000})

    def replace():
        wait_until(lambda: at_step(run, 1))
        successor.register()

    replaced, nothing = in_parallel(loop.run, replace)

    successor.tick()
    run.refresh_from_db()
    assert isinstance(replaced, Replaced)
    assert nothing is None
    assert (run.status, run.attempt, run.worker) == (RunStatus.RUNNING, 2, successor.worker)
    assert Worker.objects.get().stopped_at is None
    assert run.series.get(key="train_loss").count == run.step


@with_threads
def test_advancing_a_run_is_not_one_long_transaction():
    in_transaction = []

    class Watching(SimulatedExecutor):
        def poll(self, run, worker):
            in_transaction.append(connection.in_atomic_block)
            return super().poll(run, worker)

    loop = worker_loop(simulated=Watching(steps_per_poll=1))
    loop.register()
    RunFactory()

    loop.tick()

    assert set(in_transaction) == {False}
