"""How many writes of a caller nginx passes on."""

import json
import time
from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.trainhub.front.conftest import Front, running_front
from trainhub.front.configuration import BURST_SECONDS

pytestmark = [pytest.mark.xdist_group("front"), pytest.mark.usefixtures("english")]

RATE = 1
# The first, and what may come at once.
ALLOWED = 1 + RATE * BURST_SECONDS
BATCH = "/api/2.0/mlflow/runs/log-batch"


@pytest.fixture(scope="module")
def running() -> Iterator[Front]:
    with override_settings(WRITES_PER_SECOND=RATE), running_front() as front:
        yield front


def statuses(front: Front, method: str, path: str, count: int, **headers: str) -> list[int]:
    return [front.call(method, path, b"{}", **headers)[0] for _ in range(count)]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer th_{name}"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_beyond_the_limit_are_refused(front: Front, method: str):
    began = time.monotonic()
    answers = statuses(front, method, "/projects/p/runs/r", ALLOWED + 20, **bearer(method))

    more = int((time.monotonic() - began) * RATE) + 1  # those that time has allowed
    assert answers[:ALLOWED] == [200] * ALLOWED
    assert 20 - more <= answers.count(429) <= 20


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/projects", '"code":"too_many_writes"'),
        (BATCH, '"error_code":"RESOURCE_LIMIT_EXCEEDED"'),
        ("/dashboard/projects/p/archive", "429 · TrainHub"),
    ],
)
def test_refusal_has_the_form_of_the_url_and_says_when_to_try_again(
    front: Front, path: str, text: str
):
    answers = (front.call("POST", path, b"{}", **bearer(f"form{len(path)}")) for _ in range(99))

    headers, body = next((headers, body) for status, headers, body in answers if status == 429)

    assert int(headers["Retry-After"]) > 0
    assert text in body.decode()
    if path == "/projects":
        assert json.loads(body)["type"] == "client_error"


def test_other_token_is_not_concerned(front: Front):
    statuses(front, "POST", "/projects", ALLOWED + 5, **bearer("greedy"))

    assert statuses(front, "POST", "/projects", 5, **bearer("modest")) == [200] * 5


@pytest.mark.parametrize("form", ["bearer th_same", "Bearer   th_same", "BEARER th_same "])
def test_token_is_the_same_however_it_is_written(front: Front, form: str):
    statuses(front, "POST", "/projects", ALLOWED + 5, **bearer("same"))

    assert 429 in statuses(front, "POST", "/projects", 5, Authorization=form)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects"),
        ("GET", "/projects/p/runs/r"),
        ("POST", "/api/2.0/mlflow/runs/search"),
        ("POST", "/api/2.0/mlflow/experiments/search"),
    ],
)
def test_reads_are_not_limited(front: Front, method: str, path: str):
    answers = statuses(front, method, path, ALLOWED + 10, **bearer("reader"))

    assert set(answers) == {200}
