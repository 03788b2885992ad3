"""Threads for the work of runs."""

import threading

import pytest

from execution import tasks as tasks_module
from execution.tasks import InlineTasks, ThreadedTasks
from tests.waiting import wait_until


@pytest.fixture
def tasks():
    tasks = ThreadedTasks(usual_threads=2)
    yield tasks
    assert tasks.wait(seconds=60)
    tasks.close()
    tasks.raise_error()


def test_inline_work_is_done_when_start_returns():
    done = []

    assert InlineTasks().start("a", lambda: done.append("a"))

    assert done == ["a"]


def test_slow_work_does_not_delay_that_of_another_key(tasks):
    resume, done = threading.Event(), threading.Event()
    tasks.start("slow", lambda: resume.wait(timeout=60))

    tasks.start("quick", done.set)

    assert done.wait(timeout=60)
    resume.set()


def test_work_is_not_started_while_that_of_its_key_is_not_done(tasks):
    resume = threading.Event()
    tasks.start("a", lambda: resume.wait(timeout=60))

    assert not tasks.start("a", lambda: pytest.fail("started"))
    assert not tasks.wait(seconds=0)

    resume.set()
    assert tasks.wait(seconds=60)
    assert tasks.start("a", lambda: None)


def test_more_work_than_threads_is_all_done(tasks):
    done = []

    for number in range(20):
        tasks.start(str(number), lambda number=number: done.append(number))

    assert tasks.wait(seconds=60)
    assert sorted(done) == list(range(20))


def test_work_does_not_wait_for_threads_that_are_all_slow(tasks):
    resume, done = threading.Event(), threading.Event()
    for number in range(5):
        tasks.start(str(number), lambda: resume.wait(timeout=60))

    tasks.start("quick", done.set)
    wait_until(lambda: tasks.wait(seconds=0) or done.is_set())

    assert not resume.is_set()
    resume.set()
    assert tasks.wait(seconds=60)
    wait_until(lambda: len(tasks._threads) == 2, or_say="the others have not ended")


def test_threads_that_are_slow_for_a_moment_are_joined_by_a_few(tasks, monkeypatch):
    monkeypatch.setattr(tasks_module, "STUCK_SECONDS", 60.0)
    resume = threading.Event()
    for number in range(50):
        tasks.start(str(number), lambda: resume.wait(timeout=60))
    wait_until(lambda: len(tasks._waiting) == 48)

    monkeypatch.setattr(tasks_module, "STUCK_SECONDS", -1.0)
    tasks.wait(seconds=0)

    assert len(tasks._threads) == 4
    resume.set()
    assert tasks.wait(seconds=60)


def test_urgent_work_is_done_before_what_waits_for_a_thread(monkeypatch):
    monkeypatch.setattr(tasks_module, "STUCK_SECONDS", 60.0)
    tasks = ThreadedTasks(usual_threads=1)
    begun, resume, order = threading.Event(), threading.Event(), []
    tasks.start("slow", lambda: begun.set() or resume.wait(timeout=60))
    assert begun.wait(timeout=60)
    for key in ("a", "b"):
        tasks.start(key, lambda key=key: order.append(key))

    tasks.start("stop", lambda: order.append("stop"), urgent=True)
    resume.set()

    assert tasks.wait(seconds=60)
    tasks.close()
    assert order == ["stop", "a", "b"]


def test_error_of_work_is_raised_once_for_the_caller(tasks):
    def fail():
        raise ValueError("broken")

    tasks.start("a", fail)
    tasks.wait(seconds=60)

    with pytest.raises(ValueError, match="broken"):
        tasks.raise_error()
    tasks.raise_error()
    assert tasks.start("a", lambda: None)
