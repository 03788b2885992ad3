"""Threads that write for each other."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError

from core.group_commit import GroupCommit
from tests.waiting import wait_until


class Writer:
    """Notes each call; the first waits until it may go on, so that others gather behind it."""

    def __init__(self, fails: Callable[[list[str]], BaseException | None] = lambda items: None):
        self.calls: list[list[str]] = []
        self.entered, self.may_go_on = threading.Event(), threading.Event()
        self._fails = fails

    def __call__(self, key: str, items: list[str]) -> None:
        self.calls.append(items)
        if len(self.calls) == 1:
            self.entered.set()
            assert self.may_go_on.wait(30)
        error = self._fails(items)
        if error is not None:
            raise error


def outcomes(writer: Writer, items: list[str], *, limit: int = 100) -> list[Any]:
    """What happens to each item if the first is being written while the others arrive in order."""
    commit = GroupCommit[str, str](writer, limit=limit)
    with ThreadPoolExecutor(len(items)) as pool:
        results: list[Future[None]] = []
        for number, item in enumerate(items):
            results.append(pool.submit(commit.write, "run", item))
            if number == 0:
                assert writer.entered.wait(30)
            else:
                wait_until(lambda number=number: len(commit._waiting["run"]) == number)
        writer.may_go_on.set()
        found = [result.exception(timeout=30) for result in results]
    assert not commit._waiting  # nobody leads, so the next one will
    return found


def test_what_arrives_during_a_write_is_written_by_one_call():
    writer = Writer()

    assert outcomes(writer, ["a", "b", "c", "d"]) == [None] * 4
    assert writer.calls == [["a"], ["b", "c", "d"]]


def test_group_is_limited_in_size_and_keeps_the_order():
    writer = Writer()

    assert outcomes(writer, ["a", "b", "c", "d", "e", "f"], limit=2) == [None] * 6
    assert writer.calls == [["a"], ["b", "c"], ["d", "e"], ["f"]]


def test_error_of_one_is_its_own():
    refusal = ValueError("bad")
    writer = Writer(lambda items: refusal if "bad" in items else None)

    assert outcomes(writer, ["a", "b", "bad", "c"]) == [None, None, refusal, None]
    assert sorted(writer.calls[2:]) == [["b"], ["bad"], ["c"]]


def test_error_of_the_only_one_is_raised_without_another_attempt():
    refusal = ValueError("bad")
    writer = Writer(lambda items: refusal)
    writer.may_go_on.set()

    with pytest.raises(ValueError, match="bad"):
        GroupCommit[str, str](writer, limit=100).write("run", "a")

    assert writer.calls == [["a"]]


def test_unavailable_database_is_told_to_all_who_wait():
    writer = Writer(lambda items: OperationalError("away"))

    found = outcomes(writer, ["a", "b", "c"])

    assert [(type(error), str(error)) for error in found] == [(OperationalError, "away")] * 3
    assert len({id(error) for error in found}) == 3  # a traceback each
    assert writer.calls == [["a"]]


def test_cause_of_an_unavailable_database_is_kept():
    cause = TimeoutError("lock")

    def fail(items: list[str]) -> BaseException:
        error = OperationalError("lock")
        error.__cause__ = cause
        return error

    assert [error.__cause__ for error in outcomes(Writer(fail), ["a", "b"])] == [cause] * 2


def test_thread_that_ends_in_the_middle_leaves_nobody_waiting():
    writer = Writer(lambda items: SystemExit() if len(items) == 3 else None)

    found = outcomes(writer, ["a", "b", "c", "d"])

    assert [type(error) for error in found] == [type(None), SystemExit, type(None), type(None)]
    assert sorted(writer.calls[2:]) == [["c"], ["d"]]


def test_another_key_does_not_wait():
    writer = Writer()
    commit = GroupCommit[str, str](writer, limit=100)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(commit.write, "held", "a")
        assert writer.entered.wait(30)

        commit.write("other", "b")

        assert not held.done()
        writer.may_go_on.set()
        held.result(timeout=30)
    assert writer.calls == [["a"], ["b"]]
