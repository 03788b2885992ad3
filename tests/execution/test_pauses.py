"""Growing pauses before what has failed is tried again."""

import pytest

from execution import pauses
from execution.pauses import Pauses


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(pauses.time, "monotonic", lambda: now[0])
    return now


def test_pause_doubles_with_every_failure(clock):
    pauses = Pauses()
    lengths = []
    for _ in range(3):
        pauses.failed("a", "full")
        start = clock[0]
        while pauses.is_paused("a"):
            clock[0] += 0.25
        lengths.append(clock[0] - start)

    assert lengths == [0.5, 1.0, 2.0]


def test_pause_has_a_limit(clock):
    pauses = Pauses()
    for _ in range(100):
        pauses.failed("a", "full")

    clock[0] += 60

    assert not pauses.is_paused("a")


def test_same_reason_is_new_once(clock):
    pauses = Pauses()

    assert pauses.failed("a", "full")
    assert not pauses.failed("a", "full")
    assert pauses.failed("a", "broken")


def test_success_ends_the_pause_and_tells_the_last_reason(clock):
    pauses = Pauses()
    pauses.failed("a", "full")

    assert pauses.succeeded("a") == "full"

    assert not pauses.is_paused("a")
    assert pauses.succeeded("a") is None
