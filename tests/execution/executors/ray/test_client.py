"""What Ray's client says, in TrainHub's words."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.utils import translation

from execution.executors.ray import client
from execution.executors.ray.client import Jobs, RayAway, RayRefused
from tests.execution.executors.ray.imitated import ImitatedRay
from tests.waiting import wait_until


class ServerUnavailable(Exception):
    """Ray's, while its dashboard cannot list nodes."""


class AuthenticationError(Exception):
    """Ray's, which tells its message with pages of help."""

    def __init__(self, message):
        self.message = message
        super().__init__("help")


@pytest.fixture(autouse=True)
def ray(monkeypatch):
    exceptions = SimpleNamespace(AuthenticationError=AuthenticationError)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
    exceptions = SimpleNamespace(ServerUnavailable=ServerUnavailable)
    monkeypatch.setitem(sys.modules, "ray.util.state.exception", exceptions)
    return ImitatedRay(monkeypatch)


@pytest.mark.parametrize(
    ("problem", "error", "words"),
    [
        (ConnectionError("refused"), RayAway, "Ray does not answer (refused). Its jobs go on."),
        (RuntimeError("status code 502"), RayAway, "Ray does not answer"),
        (ServerUnavailable("Failed to make request"), RayAway, "Ray does not answer"),
        (RuntimeError("no such pip package"), RayRefused, "Ray says: no such pip package"),
        (
            AuthenticationError("Authentication failed: Forbidden\n\nEnsure that …"),
            RayAway,
            "Ray does not accept TRAINHUB_RAY_TOKEN (Authentication failed: Forbidden).",
        ),
    ],
)
def test_problem_is_told(ray, problem, error, words):
    ray.problem = problem

    with translation.override("en"), pytest.raises(error) as told:
        Jobs().get("x")

    with translation.override("en"):
        assert words in str(told.value)


def test_error_of_the_client_itself_is_not_hidden(ray):
    ray.problem = KeyError("a bug")

    with pytest.raises(KeyError):
        Jobs().get("x")


# --- threads ---------------------------------------------------------------------------------


class HangingRay:
    """Each question waits until it is let go, and gets the states of when it was asked."""

    def __init__(self, ray, monkeypatch):
        self.asked = []  # the event that lets each question go
        self._answer, self._ray = ray.list_jobs, ray
        monkeypatch.setattr(ray, "list_jobs", self._list_jobs)

    def _list_jobs(self):
        jobs = self._answer()
        let_go = threading.Event()
        self.asked.append(let_go)
        let_go.wait(timeout=60)
        return jobs


@pytest.fixture
def hanging(ray, monkeypatch):
    hanging = HangingRay(ray, monkeypatch)
    yield hanging
    for let_go in hanging.asked:
        let_go.set()


def asks_in_background(jobs, name, hanging):
    """A future of what ``jobs`` says; returns once Ray is asked."""
    count = len(hanging.asked)
    future = ThreadPoolExecutor(max_workers=1).submit(jobs.get, name)
    wait_until(lambda: len(hanging.asked) > count)
    return future


def test_those_who_ask_at_once_share_an_answer(ray, hanging):
    ray.states["x"] = "RUNNING"
    jobs = Jobs()
    first = asks_in_background(jobs, "x", hanging)
    second = ThreadPoolExecutor(max_workers=1).submit(jobs.get, "x")

    hanging.asked[0].set()

    assert first.result(timeout=60).state == second.result(timeout=60).state == "RUNNING"
    assert len(hanging.asked) == 1


def test_question_that_hangs_keeps_nobody_from_anything_else(ray, hanging):
    jobs = Jobs()
    future = asks_in_background(jobs, "x", hanging)

    jobs.submit("y", "python driver.py")

    assert ray.states["y"] == "PENDING"
    assert jobs.nodes() == []
    assert not future.done()


def test_answer_to_a_question_from_before_a_change_is_not_kept(ray, hanging):
    jobs = Jobs()
    before = asks_in_background(jobs, "x", hanging)
    jobs.submit("x", "python driver.py")
    after = asks_in_background(jobs, "x", hanging)

    hanging.asked[1].set()
    assert after.result(timeout=60).state == "PENDING"
    hanging.asked[0].set()
    assert before.result(timeout=60) is None

    assert jobs.get("x").state == "PENDING"


@pytest.mark.parametrize(
    ("token", "headers"), [("", None), ("secret", {"Authorization": "Bearer secret"})]
)
def test_token_is_sent_as_a_bearer_token(settings, token, headers):
    settings.RAY_TOKEN = token

    assert client.headers() == headers
