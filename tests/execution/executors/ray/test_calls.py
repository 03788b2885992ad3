"""Calls of a client without time limits, which may hang."""

import threading
import time

import pytest

from execution.executors.ray import calls
from execution.executors.ray.calls import CALLS, Calls, limited


@pytest.fixture
def let_go():
    event = threading.Event()
    yield event
    event.set()


def hang(let_go, times, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(calls, "SECONDS", 0.01)
        shared = Calls()
        for _call in range(times):
            with pytest.raises(TimeoutError):
                shared.call(lambda _deadline: let_go.wait(timeout=60))
    return shared


def test_calls_that_hang_take_nothing_from_later_ones(let_go, monkeypatch):
    shared = hang(let_go, CALLS + 1, monkeypatch)

    assert shared.call(lambda _deadline: "answer") == "answer"


def test_calls_that_hang_keep_no_process_from_exiting(let_go, monkeypatch):
    before = set(threading.enumerate())

    hang(let_go, 1, monkeypatch)

    [thread] = set(threading.enumerate()) - before
    assert thread.daemon


def test_error_of_a_call_is_its_callers():
    with pytest.raises(KeyError):
        Calls().call(lambda _deadline: {}["x"])


def test_time_limit_of_the_call_itself_is_told_in_its_words():
    def answer(_deadline):
        raise TimeoutError("read timed out")

    with pytest.raises(TimeoutError, match="read timed out"):
        Calls().call(answer)


# --- requests --------------------------------------------------------------------------------


class Client:
    """Stands for those of Ray: each request goes through one method."""

    def __init__(self, address):
        self.address = address
        self.timeouts = []
        self._do_request("GET", "/api/version")

    def _do_request(self, method, endpoint, *, timeout=None):
        self.timeouts.append(timeout)

    def list(self, timeout):
        self._do_request("GET", "/api/v0/nodes", timeout=timeout)


def test_request_gets_what_is_left_until_the_deadline():
    client = limited(Client)(time.monotonic() + 20, "http://ray")

    [timeout] = client.timeouts
    assert 0 < timeout <= 20
    assert client.address == "http://ray"


def test_shorter_limit_of_the_client_itself_holds():
    client = limited(Client)(time.monotonic() + 20, "http://ray")

    client.list(timeout=5)

    assert client.timeouts[1] == 5


def test_call_that_was_given_up_begins_no_further_request():
    client = limited(Client)(time.monotonic() + 20, "http://ray")
    client._deadline = time.monotonic()

    with pytest.raises(TimeoutError):
        client.list(timeout=5)

    assert len(client.timeouts) == 1
