"""Errors in the worker's loop: of one run, or of one kind of work, they do not end it."""

import errno

import pytest

from core.exceptions import InvalidInput
from execution import pauses
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.worker import WorkerLoop
from runs import unmanaged
from runs.actions import cancel_run
from runs.models import EventKind
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.execution.worker_loops import (
    at_step,
    kinds,
    over,
    process_run,
    tick_until,
)
from tests.factories import RunFactory, WorkerFactory
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]


class Breaking(ProcessExecutor):
    """Raises the error of a method in ``errors``."""

    def __init__(self):
        self.errors = {}

    def _may_raise(self, method):
        if method in self.errors:
            raise self.errors[method]

    def poll(self, run, worker):
        self._may_raise("poll")
        return super().poll(run, worker)

    def stop(self, run, worker):
        self._may_raise("stop")
        super().stop(run, worker)

    def kill(self, run, worker):
        self._may_raise("kill")
        super().kill(run, worker)

    def tidy(self):
        self._may_raise("tidy")
        super().tidy()


@pytest.fixture
def executor():
    return Breaking()


@pytest.fixture
def loop(executor):
    loop = WorkerLoop(name="one", executors={"process": executor}, tick_seconds=0.01)
    loop.register()
    return loop


@pytest.fixture
def run(loop):
    run = process_run()
    tick_until(loop, lambda: at_step(run, 3))
    return run


DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


def test_stop_that_fails_next_to_other_work_is_tried_again(loop, executor, run, caplog):
    executor.errors = {"poll": OSError("NFS"), "stop": DISK_FULL}
    cancel_run(run, by=None, wait_seconds=0)
    for _ in range(5):
        loop.tick()
    run.refresh_from_db()
    assert "No space left" in str(run.status_reason)
    assert caplog.text.count("advanced: OSError: [Errno 28]") == 1

    executor.errors = {}

    tick_until(loop, lambda: over(run))
    assert run.status == RunStatus.CANCELLED


def test_error_while_tidying_ends_neither_the_worker_nor_the_rest(
    loop, executor, caplog, monkeypatch
):
    executor.errors = {"tidy": FileNotFoundError("launch.json")}
    silent = RunFactory(recipe=None, status=RunStatus.RUNNING)
    monkeypatch.setattr(unmanaged, "update_lost_runs", lambda: silent.change(name="looked at"))
    loop.chores.next_tidy = 0.0

    loop.tick()

    silent.refresh_from_db()
    assert silent.name == "looked at"
    assert "launch.json" in caplog.text


def test_run_that_cannot_be_recovered_does_not_keep_others_from_it(loop, monkeypatch, caplog):
    dead = WorkerFactory(last_heartbeat="2020-01-01T00:00:00Z")
    bad, good = (process_run(status=RunStatus.RUNNING, worker=dead) for _ in range(2))
    reap = loop._reap
    monkeypatch.setattr(loop, "_reap", lambda pk: 1 / 0 if pk == bad.pk else reap(pk))

    loop.tick()

    good.refresh_from_db()
    assert good.attempt == 2
    assert bad.pk in caplog.text


@pytest.mark.parametrize("text", ["a\x00b", "a\udce9b"], ids=["NUL", "surrogate"])
def test_error_with_characters_that_cannot_be_stored_is_noted(loop, executor, run, text):
    executor.errors = {"poll": InvalidInput(text)}

    loop.tick()

    run.refresh_from_db()
    assert "a\N{REPLACEMENT CHARACTER}b" in str(run.status_reason)
    assert kinds(run)[-1] == EventKind.FAULT


# --- leaving ---------------------------------------------------------------------------------


def test_process_that_cannot_be_polled_for_a_moment_is_stopped_while_the_worker_leaves(
    loop, executor, run, monkeypatch
):
    monkeypatch.setattr(pauses, "FIRST_SECONDS", 0.0)
    executor.errors = {"poll": OSError("NFS: stale file handle")}
    process = Attempt.of(run).process()
    note = loop.faults._note

    def recover(*arguments):
        executor.errors = {}
        note(*arguments)

    monkeypatch.setattr(loop.faults, "_note", recover)

    loop.leave(stop_work=True, stop_seconds=30)

    run.refresh_from_db()
    assert not lives(process)
    assert (run.worker, run.attempt) == (None, 2)


@pytest.mark.parametrize("method", ["stop", "kill"])
def test_process_that_can_never_be_polled_is_ended_all_the_same(
    loop, executor, run, method, monkeypatch
):
    monkeypatch.setattr("execution.winding_down.KILL_SECONDS", 0.5)
    executor.errors = {"poll": OSError("NFS: stale file handle")}
    process = Attempt.of(run).process()

    loop.leave(stop_work=True, stop_seconds=0.0 if method == "kill" else 2.0)

    wait_until(lambda: not lives(process))
    run.refresh_from_db()
    assert run.worker == loop.worker


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_loop_goes_on_after_an_error_of_a_stop():
    executor = Breaking()
    loop = WorkerLoop(name="one", executors={"process": executor}, tick_seconds=0.01)
    run = process_run()

    def stop():
        try:
            wait_until(lambda: at_step(run, 3))
            executor.errors = {"poll": OSError("NFS"), "stop": DISK_FULL}
            cancel_run(run, by=None, wait_seconds=0)
            wait_until(lambda: "No space left" in reason(run))
            executor.errors = {}
            wait_until(lambda: over(run))
        finally:
            loop.stopping.set()

    assert in_parallel(lambda: loop.run(stop_work=True), stop) == [None, None]
    assert run.status == RunStatus.CANCELLED


def reason(run):
    run.refresh_from_db()
    return str(run.status_reason)


def test_error_of_an_earlier_process_of_the_worker_is_over_once_the_run_is_advanced(
    loop, executor, run
):
    executor.errors = {"poll": OSError("NFS")}
    loop.tick()
    assert "NFS" in reason(run)
    again = WorkerLoop(name="one", executors={"process": ProcessExecutor()})
    again.register()

    again.tick()

    assert reason(run) == ""
    assert kinds(run)[-1] == EventKind.FAULT_OVER
