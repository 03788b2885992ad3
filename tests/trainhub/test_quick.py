"""The short way answers what it can, and the long way says the rest, as if it were the only one."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.test.client import FakePayload
from django.urls import resolve

from runs.metrics import summaries
from tests.clients import ApiClient
from tests.factories import RunFactory, running
from trainhub.quick_urls import PATHS, quick_view

pytestmark = pytest.mark.django_db

POINT = {"key": "loss", "step": 1, "value": 0.5, "timestamp": "2024-01-15T10:30:00Z"}
LOG_METRIC = "/api/2.0/mlflow/runs/log-metric"


@pytest.fixture
def api() -> ApiClient:
    return ApiClient()


@pytest.fixture
def run():
    return running()


def detail(run) -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}"


def keys_of(run) -> list[str]:
    return [summary.key for summary in summaries(run)]


def went_the_long_way(answer) -> bool:
    return "Content-Language" in answer.headers  # the pages' middleware says it


@pytest.mark.parametrize("path", [*PATHS, "/projects/p/runs/r", "/projects/p/runs/r/metrics"])
def test_every_quick_address_has_a_long_way(path):
    assert quick_view(path) is not None
    assert resolve(path).route != r"api/^.*$"  # where MLflow's unknown addresses end


@pytest.mark.parametrize("path", ["/projects/p/runs", "/projects/p/runs/r/logs", "/", "/healthz"])
def test_others_are_none(path):
    assert quick_view(path) is None


def test_plain_requests_go_the_short_way(api, run):
    point = {"run_id": run.pk, "key": "loss", "value": 1, "timestamp": 0}

    answers = [
        api.get(detail(run)),
        api.post_json(f"{detail(run)}/metrics", {"points": [POINT]}),
        api.post_json(LOG_METRIC, point),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert not any(went_the_long_way(answer) for answer in answers)


def test_answers_are_sealed_as_all_others(api, run):
    short, long = api.get(detail(run)), api.get(detail(run), headers={"Accept": "application/*"})

    assert went_the_long_way(long)
    assert short.json() == long.json()
    for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Type"):
        assert short.headers[name] == long.headers[name]
    assert short.headers["Content-Length"] == str(len(short.content))


def test_other_hosts_are_refused(run):
    answer = Client(SERVER_NAME="evil.example").get(detail(run))

    assert answer.status_code == 400


def test_body_is_there_for_the_long_way(client: Client, run, settings):
    settings.OPEN_MODE = False
    client.force_login(User.objects.create(username="xiaoli"))  # whom the short way does not know

    answer = client.post(
        f"{detail(run)}/metrics", {"points": [POINT]}, content_type="application/json"
    )

    assert answer.status_code == 200, answer.content
    assert went_the_long_way(answer)
    assert keys_of(run) == ["loss"]


@pytest.mark.parametrize("path", ["{run}/metrics", LOG_METRIC])
def test_body_that_is_too_large_is_refused(api, run, settings, path):
    settings.MAX_JSON_BYTES = 100

    answer = api.post_json(path.format(run=detail(run)), {"run_id": run.pk, "key": "x" * 100})

    assert answer.status_code in {400, 413}
    assert "100" in answer.content.decode()


@pytest.mark.parametrize("path", ["{run}/metrics", LOG_METRIC])
def test_body_of_a_stranger_is_not_read_by_the_short_way(client, run, settings, monkeypatch, path):
    settings.OPEN_MODE = False
    monkeypatch.setattr(FakePayload, "read", lambda *_arguments: pytest.fail("it was read"))

    answer = client.post(path.format(run=detail(run)), {}, content_type="application/json")

    assert answer.status_code == 401


def test_why_a_point_is_refused_is_said_in_the_readers_language(api, run):
    body = {"points": [POINT | {"key": ""}]}

    said = [
        api.post_json(f"{detail(run)}/metrics", body, headers={"Accept-Language": language})
        for language in ("en", "zh-hans", "en")
    ]

    english, chinese, again = (answer.json()["errors"][0]["detail"] for answer in said)
    assert english == again
    assert english.isascii()
    assert not chinese.isascii()
    assert keys_of(run) == []


def test_head_and_unknown_runs_are_answered(api, run):
    assert api.head(detail(run)).status_code == 200
    assert api.get(detail(RunFactory.build(project=run.project))).status_code == 404


def test_points_for_a_run_of_another_project_are_not_found(api, run):
    other = RunFactory()

    answer = api.post_json(
        f"/projects/{other.project_id}/runs/{run.pk}/metrics", {"points": [POINT]}
    )

    assert answer.status_code == 404
    assert keys_of(run) == []
