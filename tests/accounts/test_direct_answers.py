"""Plain requests bypass DRF; all other requests and all errors get DRF's responses."""

import pytest
from django.conf import settings
from django.test import Client
from django.test.client import FakePayload

from metrics.reading import summaries
from tests.clients import ApiClient
from tests.factories import RunFactory, member_of, running

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


def is_from_drf(answer) -> bool:
    return hasattr(answer, "accepted_renderer")


@pytest.mark.parametrize("headers", [{"Accept": "application/*"}, {"Accept": "text/html, */*"}])
def test_direct_answer_matches_drf_answer(api, run, headers):
    direct, full = api.get(detail(run)), api.get(detail(run), headers=headers)

    assert is_from_drf(full)
    assert direct.json() == full.json()
    for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Type"):
        assert direct.headers[name] == full.headers[name]
    assert direct.headers["Content-Length"] == str(len(direct.content))


def test_api_responses_use_no_cookies_and_no_sessions(api, run, django_assert_num_queries):
    api.get(detail(run))

    with django_assert_num_queries(1):
        answer = api.get(detail(run))

    assert not answer.cookies
    assert "Vary" not in answer.headers


def test_signed_in_browser_can_send_points(client: Client, run, settings):
    settings.OPEN_MODE = False
    client.force_login(member_of(run.project))

    answer = client.post(
        f"{detail(run)}/metrics", {"points": [POINT]}, content_type="application/json"
    )

    assert answer.status_code == 200, answer.content
    assert is_from_drf(answer)
    assert keys_of(run) == ["loss"]


@pytest.mark.parametrize("path", ["{run}/metrics", LOG_METRIC])
def test_body_that_is_too_large_is_refused(api, run, settings, path):
    settings.MAX_JSON_BYTES = 100

    answer = api.post_json(path.format(run=detail(run)), {"run_id": run.pk, "key": "x" * 100})

    assert answer.status_code in {400, 413}
    assert "100" in answer.content.decode()


@pytest.mark.parametrize("path", ["{run}/metrics", LOG_METRIC])
def test_body_of_an_unauthenticated_request_is_not_read(client, run, settings, monkeypatch, path):
    settings.OPEN_MODE = False
    monkeypatch.setattr(FakePayload, "read", lambda *_arguments: pytest.fail("it was read"))

    answer = client.post(path.format(run=detail(run)), {}, content_type="application/json")

    assert answer.status_code == 401


def test_error_for_an_invalid_point_is_in_the_requested_language(api, run):
    body = {"points": [POINT | {"key": ""}]}

    responses = [
        api.post_json(f"{detail(run)}/metrics", body, headers={"Accept-Language": language})
        for language in ("en", "zh-hans", "en")
    ]

    english, chinese, again = (answer.json()["errors"][0]["detail"] for answer in responses)
    assert english == again
    assert english.isascii()
    assert not chinese.isascii()
    assert keys_of(run) == []


def test_error_is_in_the_language_of_the_pages(api, run):
    api.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"

    answer = api.get("/projects/unknown", headers={"Accept-Language": "en"})

    assert not answer.json()["errors"][0]["detail"].isascii()
    assert answer.headers["Content-Language"] == "zh-hans"
    assert "Accept-Language" in answer.headers["Vary"]


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
