"""The driver of a Ray job: agents that are killed, launchers that do not end."""

import sys
import time
from types import SimpleNamespace

import pytest

from execution.launcher import ray_driver
from execution.launcher.ray_driver import MAX_RESTARTS, keep_alive, wait_for


class RayError(Exception):
    """Ray's, of an actor whose node is gone."""


class ImitatedRay:
    """Launchers are what they return, in this order; None: does not end."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self):
        self.timeouts = []

    def wait(self, pending, *, num_returns, timeout):
        self.timeouts.append(timeout)
        done = [item for item in pending if item is not None][:num_returns]
        if not done:
            assert timeout is not None, "it would wait for ever"
            return [], pending
        rest = list(pending)
        rest.remove(done[0])
        return done, rest

    def get(self, item):
        if isinstance(item, Exception):
            raise item
        return item


@pytest.fixture
def pauses(monkeypatch):
    """How long it waits before an agent is started again."""
    pauses = []
    now = SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append)
    monkeypatch.setattr(ray_driver, "time", now)
    return pauses


@pytest.fixture
def agent(monkeypatch):
    """Lets agents return these codes, one after the other."""

    def let(*codes):
        left = list(codes)
        monkeypatch.setattr(ray_driver, "run_agent", lambda *_about: left.pop(0))
        return left

    return let


# --- agents ----------------------------------------------------------------------------------


def test_agent_returns_its_code_and_its_last_words(tmp_path):
    log = tmp_path / "agent.log"
    command = [sys.executable, "-c", "import sys; print('one'); print('two'); sys.exit(3)"]

    assert keep_alive(0, command, {}, log) == (3, "two")


def test_killed_agent_is_started_again(pauses, agent, tmp_path):
    left = agent(-9, 0)

    assert keep_alive(0, [], {}, tmp_path / "log")[0] == 0
    assert (left, pauses) == ([], [1.0])


def test_agent_that_is_killed_again_and_again_is_given_up_after_growing_pauses(
    pauses, agent, tmp_path
):
    left = agent(*[-9] * (MAX_RESTARTS + 1), 0)

    code, words = keep_alive(1, [], {}, tmp_path / "log")

    assert (code, words) == (137, "the agent of node 1 was killed 6 times (signal 9)")
    assert (left, pauses) == ([0], [1.0, 2.0, 4.0, 8.0, 15.0])


def test_kills_do_not_count_after_an_agent_was_at_work_for_long(
    pauses, agent, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_driver, "STEADY_SECONDS", -1.0)
    agent(*[-9] * (MAX_RESTARTS + 3), 0)

    assert keep_alive(0, [], {}, tmp_path / "log")[0] == 0
    assert set(pauses) == {1.0}


# --- launchers -------------------------------------------------------------------------------


def test_job_ends_with_its_launchers():
    ray = ImitatedRay()

    assert wait_for(ray, [(0, ""), (0, "")], 100.0) == 0
    assert ray.timeouts == [None, None]


def test_launcher_that_failed_does_not_leave_its_job_running_for_those_that_wait_for_it(capsys):
    ray = ImitatedRay()

    assert wait_for(ray, [(76, "not understood"), None], 100.0) == 76
    assert 99 < ray.timeouts[-1] <= 100
    assert capsys.readouterr().out.splitlines()[0] == "not understood"


def test_code_is_that_of_the_first_that_failed():
    assert wait_for(ImitatedRay(), [(0, ""), (3, "first"), (143, "then")], 100.0) == 3


def test_lost_launcher_ends_the_job():
    assert wait_for(ImitatedRay(), [RayError("its node is gone"), None], 100.0) == 1
