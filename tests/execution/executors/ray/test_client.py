"""What Ray's client says, in TrainHub's words."""

import sys
from types import SimpleNamespace

import pytest
from django.utils import translation

from execution.executors.ray import client
from execution.executors.ray.client import Jobs, RayAway, RayRefused
from tests.execution.executors.ray.imitated import ImitatedRay


class AuthenticationError(Exception):
    """Ray's, which tells its message with pages of help."""

    def __init__(self, message):
        self.message = message
        super().__init__("help")


@pytest.fixture(autouse=True)
def ray(monkeypatch):
    exceptions = SimpleNamespace(AuthenticationError=AuthenticationError)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
    return ImitatedRay(monkeypatch)


@pytest.mark.parametrize(
    ("problem", "error", "words"),
    [
        (ConnectionError("refused"), RayAway, "Ray does not answer (refused). Its jobs go on."),
        (RuntimeError("status code 502"), RayAway, "Ray does not answer"),
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


@pytest.mark.parametrize(
    ("token", "headers"), [("", None), ("secret", {"Authorization": "Bearer secret"})]
)
def test_token_is_sent_as_a_bearer_token(settings, token, headers):
    settings.RAY_TOKEN = token

    assert client.headers() == headers
