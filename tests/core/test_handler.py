"""The handler answers frequent requests itself; Django answers all others, in the same way."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from accounts.models import Token
from accounts.tokens import issue_script_token
from core import database
from core.handler import Handler
from metrics import recording
from tests.clients import ApiClient
from tests.factories import RunFactory, member_of, running

pytestmark = pytest.mark.django_db

POINT = {"key": "loss", "step": 1, "value": 0.5, "timestamp": "2024-01-15T10:30:00Z"}


@pytest.fixture
def api() -> ApiClient:
    return ApiClient()


@pytest.fixture
def run():
    return running()


@pytest.fixture
def django_alone(monkeypatch):
    """The requests that Django has handled."""
    handled = []
    get_response = Handler.get_response

    def note(handler, request):
        handled.append(request.path)
        return get_response(handler, request)

    monkeypatch.setattr(Handler, "get_response", note)
    return handled


def path_of(run) -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}"


def series_of(run) -> str:
    return f"{path_of(run)}/metrics/series?keys=loss"


def log_metric(api: ApiClient, run, **headers: str):
    body = {"run_id": run.pk, "key": "loss", "value": 1.0, "timestamp": 1000, "step": 1}
    return api.post_json("/api/2.0/mlflow/runs/log-metric", body, headers=headers)


def test_frequent_requests_are_answered_without_django(api, run, django_alone):
    answers = [
        api.get(path_of(run)),
        api.post_json(f"{path_of(run)}/metrics", {"points": [POINT]}),
        api.get(series_of(run)),
        log_metric(api, run),
    ]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert django_alone == []


@pytest.mark.parametrize(
    "headers", [{"Accept-Language": "en"}, {"Cookie": "a=b"}, {"Accept": "text/html, */*"}]
)
def test_other_requests_are_answered_by_django(api, run, django_alone, headers):
    answer = api.get(path_of(run), headers=headers)

    assert answer.status_code == 200
    assert django_alone == [path_of(run)]


@pytest.mark.parametrize("headers", [{}, {"Accept-Language": "zh-hans"}])
def test_unknown_parameter_of_a_series_is_refused(api, run, headers):
    answer = api.get(f"{series_of(run)}&max_point=3", headers=headers)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "max_point"


def test_series_is_the_same_either_way(api, run):
    api.post_json(f"{path_of(run)}/metrics", {"points": [POINT]})

    direct, full = api.get(series_of(run)), api.get(series_of(run), headers={"Cookie": "a=b"})

    assert direct.json() == full.json()
    assert direct.json()["items"][0]["points"][0]["value"] == 0.5


def test_series_of_a_run_of_another_project_is_not_found(api, run):
    other = RunFactory()

    answer = api.get(f"/projects/{other.project_id}/runs/{run.pk}/metrics/series?keys=loss")

    assert answer.status_code == 404


def test_series_of_another_run_is_refused_to_a_script(api, run, settings):
    settings.OPEN_MODE = False
    user = User.objects.create(username="xiaoli")
    token, _digest = issue_script_token(user, run.pk, life=timedelta(hours=1))

    answer = api.get(series_of(RunFactory()), headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 403


@pytest.mark.parametrize("send", ["rest", "mlflow"])
def test_request_that_the_database_refuses_is_tried_once(api, run, monkeypatch, send):
    tried = []

    def refuse(*_arguments, **_keywords):
        tried.append(1)
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(recording, "record_points", refuse)
    if send == "rest":
        answer = api.post_json(f"{path_of(run)}/metrics", {"points": [POINT]})
    else:
        answer = log_metric(api, run)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert len(tried) == 1


@pytest.mark.parametrize("send", ["rest", "mlflow"])
def test_fault_of_ours_is_a_500(api, run, monkeypatch, send):
    monkeypatch.setattr(database.Statement, "row", lambda *_a, **_k: 1 / 0)
    api.raise_request_exception = False

    if send == "rest":
        answer = api.post_json(f"{path_of(run)}/metrics", {"points": [POINT]})
    else:
        answer = log_metric(api, run)

    assert answer.status_code == 500


def test_invalid_token_is_refused(api, run, settings):
    settings.OPEN_MODE = False

    answer = api.get(path_of(run), headers={"Authorization": "Bearer th_nope"})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_unknown_host_is_refused(api, run):
    answer = api.get(path_of(run), headers={"Host": "evil.example"})

    assert answer.status_code == 400


def test_user_of_a_token_is_not_kept_for_the_next_request(api, run, settings):
    settings.OPEN_MODE = False
    _entry, token = Token.issue(member_of(run.project))
    known = api.get(path_of(run), headers={"Authorization": f"Bearer {token}"})

    unknown = api.get(path_of(run))

    assert (known.status_code, unknown.status_code) == (200, 401)
