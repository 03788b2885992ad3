"""log-metric, log-batch and get-history, as MLflow's clients send them."""

import json
import math

import pytest
from django.utils import timezone

from runs.ingestion import record_metrics
from runs.models import MetricPoint, Run
from runs.points import Point
from tests.clients import ApiClient
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

AT = 1_700_000_000_000
LOG_METRIC, LOG_BATCH = "/api/2.0/mlflow/runs/log-metric", "/api/2.0/mlflow/runs/log-batch"
HISTORY = "/api/2.0/mlflow/metrics/get-history"


@pytest.fixture
def api():
    return ApiClient()


def metric(**fields):
    return {"key": "loss", "value": 0.5, "timestamp": AT, "step": 1, **fields}


def stored(run):
    points = MetricPoint.objects.filter(series__run=run)
    return sorted(points.values_list("series__key", "step", "timestamp_ms", "value"))


def history(api, run, **query):
    answer = api.get(HISTORY, {"run_id": run.pk, "run_uuid": run.pk, "metric_key": "loss", **query})
    assert answer.status_code == 200, answer.content
    return answer.json()


# --- in --------------------------------------------------------------------------------------


def test_metric_is_stored_and_is_the_runs_latest(api):
    run = RunFactory()

    answer = api.post_json(LOG_METRIC, {"run_id": run.pk, "run_uuid": run.pk, **metric()})

    assert (answer.status_code, answer.json()) == (200, {})
    assert stored(run) == [("loss", 1, AT, 0.5)]
    assert Run.objects.get(pk=run.pk).metrics == {"loss": 0.5}


def test_batch_sent_twice_counts_once(api):
    run = RunFactory()
    batch = {"run_id": run.pk, "metrics": [metric(step=step) for step in range(1000)]}

    for _time in range(2):
        assert api.post_json(LOG_BATCH, batch).status_code == 200

    assert len(stored(run)) == run.series.get().count == 1000


def test_metric_without_a_step_is_at_step_0(api):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, "key": "loss", "value": 1, "timestamp": AT})

    assert stored(run) == [("loss", 0, AT, 1.0)]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_values_that_json_lacks_come_and_go_as_text(api, value):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, **metric(value=value)})

    [point] = stored(run)
    assert str(point[3]) == str(float(value))
    assert history(api, run)["metrics"][0]["value"] == value


def test_numbers_of_64_bits_may_come_as_text(api):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, **metric(step=str(2**63 - 1), timestamp=str(AT))})

    assert stored(run) == [("loss", 2**63 - 1, AT, 0.5)]


def test_script_started_elsewhere_is_as_far_as_its_last_step(api):
    run = RunFactory(recipe=None, total_steps=None)

    api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric(step=7), metric(step=3)]})

    run = Run.objects.get(pk=run.pk)
    assert run.step == 7
    assert run.reported_at is not None


def test_batch_of_everything_is_taken_in_whole(api):
    run = RunFactory(recipe=None, hyperparameters={})
    batch = {
        "metrics": [metric()],
        "params": [{"key": "lr", "value": "0.1"}],
        "tags": [{"key": "mlflow.user", "value": "小李"}],
    }

    answer = api.post_json(LOG_BATCH, {"run_id": run.pk, **batch})

    run.refresh_from_db()
    assert answer.status_code == 200
    assert (run.metrics, run.hyperparameters) == ({"loss": 0.5}, {"lr": "0.1"})
    assert run.tags["mlflow.user"] == "小李"


def test_batch_with_a_param_that_may_not_change_leaves_no_metric(api):
    run = RunFactory(recipe=None, hyperparameters={"lr": "0.1"})
    batch = {"metrics": [metric()], "params": [{"key": "lr", "value": "0.2"}]}

    answer = api.post_json(LOG_BATCH, {"run_id": run.pk, **batch})

    assert answer.status_code == 400
    assert "Changing param values is not allowed" in answer.json()["message"]
    assert stored(run) == []


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (metric(key=""), "metrics[1]"),
        (metric(key="x" * 251), "metrics[1]"),
        (metric(key="a\x00b"), "metrics[1]"),
        (metric(value="many"), "metrics[1]"),
        (metric(value=None), "metrics[1]"),
        (metric(step=2**63), "metrics[1]"),
        (metric(timestamp=1.5), "metrics[1]"),
        ("loss", "metrics[1]"),
    ],
)
def test_batch_with_one_bad_point_is_refused_whole_and_says_which(api, bad, word):
    run = RunFactory()

    answer = api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric(), bad]})

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert word in answer.json()["message"]
    assert stored(run) == []


def test_lone_surrogate_in_a_key_is_refused(api):
    body = json.dumps({"run_id": RunFactory().pk, **metric(key="\ud800")})

    answer = api.post(LOG_METRIC, body, content_type="application/json")

    assert answer.status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"{}", b"[" * 5000])
def test_what_is_no_message_is_refused(api, body):
    answer = api.post(LOG_BATCH, body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_more_than_a_batch_may_hold_is_refused(api):
    run = RunFactory()

    answer = api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric()] * 1001})

    assert answer.status_code == 400
    assert stored(run) == []


@pytest.mark.parametrize("batch", [{}, {"metrics": [], "params": None}])
def test_empty_batch_of_an_unknown_run_is_refused_too(api, batch):
    assert api.post_json(LOG_BATCH, {"run_id": "run_none", **batch}).status_code == 404


def test_run_in_the_trash_takes_nothing(api):
    run = RunFactory(deleted_at=timezone.now())

    assert api.post_json(LOG_METRIC, {"run_id": run.pk, **metric()}).status_code == 404
    assert stored(run) == []


@pytest.mark.parametrize("run_id", ["run_none", "", "a\x00b", "x" * 10_000])
def test_unknown_run_does_not_exist(api, run_id):
    answer = api.post_json(LOG_METRIC, {"run_id": run_id, **metric()})

    assert answer.status_code == 404
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_body_over_the_limit_is_refused(api, settings):
    settings.MAX_JSON_BYTES = 100

    answer = api.post_json(LOG_METRIC, {"run_id": "x" * 200, **metric()})

    assert answer.status_code == 400


# --- out -------------------------------------------------------------------------------------


def test_history_is_in_the_order_of_steps_then_times(api):
    run = RunFactory()
    record_metrics(
        run, [Point("loss", 2, 0.1, 5), Point("loss", 1, 0.3, 9), Point("loss", 2, 1, 4)]
    )

    found = history(api, run)

    assert found == {
        "metrics": [
            {"key": "loss", "value": 0.3, "timestamp": 9, "step": 1},
            {"key": "loss", "value": 1.0, "timestamp": 4, "step": 2},
            {"key": "loss", "value": 0.1, "timestamp": 5, "step": 2},
        ]
    }


def test_history_comes_in_pages_that_leave_nothing_out(api):
    run = RunFactory()
    values = [math.nan, math.inf, -math.inf, 0.1, *range(7)]
    record_metrics(run, [Point("loss", step // 3, value, 0) for step, value in enumerate(values)])

    found, token = [], ""
    while True:
        page = history(api, run, max_results=2, **({"page_token": token} if token else {}))
        found += page["metrics"]
        token = page.get("next_page_token", "")
        if not token:
            break

    assert len(found) == len(values)
    assert [point["step"] for point in found] == sorted(point["step"] for point in found)
    assert {str(float(point["value"])) for point in found} == {str(float(item)) for item in values}


def test_history_of_a_metric_never_logged_is_empty(api):
    assert history(api, RunFactory()) == {"metrics": []}


@pytest.mark.parametrize("token", ["x", "1:2", "1:2:y", "99999999999999999999:0:0"])
def test_page_token_of_somebody_else_is_refused(api, token):
    answer = api.get(
        HISTORY, {"run_id": RunFactory().pk, "metric_key": "loss", "page_token": token}
    )

    assert answer.status_code == 400
