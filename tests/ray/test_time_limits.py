"""Ray's own client at a head that takes connections and never answers."""

import socket
import threading
import time

import pytest

from execution.executors.ray import calls
from execution.executors.ray.client import Jobs, RayAway
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def silent_head(settings):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.RAY_ADDRESS = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield


def calls_in_progress():
    return [thread for thread in threading.enumerate() if thread.name == "ray"]


@pytest.mark.parametrize("question", [lambda: Jobs().get("x"), lambda: Jobs().nodes()])
def test_call_to_a_head_that_hangs_ends_with_its_thread(silent_head, monkeypatch, question):
    wait_until(lambda: not calls_in_progress())
    monkeypatch.setattr(calls, "SECONDS", 1.0)
    began = time.monotonic()

    with pytest.raises(RayAway):
        question()

    assert time.monotonic() - began < 10
    wait_until(lambda: not calls_in_progress(), seconds=10)
