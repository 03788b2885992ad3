"""MLflow metric endpoints: log-metric, log-batch, get-history."""

import json
import math

import pytest
from django.utils import timezone

from metrics.models import MetricPoint
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
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
    response = api.get(
        HISTORY, {"run_id": run.pk, "run_uuid": run.pk, "metric_key": "loss", **query}
    )
    assert response.status_code == 200, response.content
    return response.json()


# --- logging ---------------------------------------------------------------------------------


def test_log_metric_stores_point_and_updates_latest(api):
    run = RunFactory()

    response = api.post_json(LOG_METRIC, {"run_id": run.pk, "run_uuid": run.pk, **metric()})

    assert (response.status_code, response.json()) == (200, {})
    assert stored(run) == [("loss", 1, AT, 0.5)]
    assert Run.objects.get(pk=run.pk).metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("own", "expected"), [({}, 0.7), ({"gpu_utilization": 0.9}, 0.9)], ids=["client", "script"]
)
def test_gpu_utilization_is_the_mean_of_the_clients_unless_the_script_reports_it(
    api, own, expected
):
    run = RunFactory()
    values = {
        "system/gpu_0_utilization_percentage": 60,
        "system/gpu_1_utilization_percentage": 80,
        **own,
    }
    metrics = [metric(key=key, value=value) for key, value in values.items()]

    api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": metrics})

    run.refresh_from_db()
    assert run.gpu_utilization == pytest.approx(expected)


def test_log_batch_is_idempotent(api):
    run = RunFactory()
    batch = {"run_id": run.pk, "metrics": [metric(step=step) for step in range(1000)]}

    for _time in range(2):
        assert api.post_json(LOG_BATCH, batch).status_code == 200

    assert len(stored(run)) == run.series.get().count == 1000


def test_step_defaults_to_0(api):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, "key": "loss", "value": 1, "timestamp": AT})

    assert stored(run) == [("loss", 0, AT, 1.0)]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_values_are_strings(api, value):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, **metric(value=value)})

    [point] = stored(run)
    assert str(point[3]) == str(float(value))
    assert history(api, run)["metrics"][0]["value"] == value


def test_64_bit_integers_may_be_strings(api):
    run = RunFactory()

    api.post_json(LOG_METRIC, {"run_id": run.pk, **metric(step=str(2**63 - 1), timestamp=str(AT))})

    assert stored(run) == [("loss", 2**63 - 1, AT, 0.5)]


def test_unmanaged_run_is_at_its_highest_step(api):
    run = RunFactory(recipe=None, total_steps=None)

    api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric(step=7), metric(step=3)]})

    run = Run.objects.get(pk=run.pk)
    assert run.step == 7
    assert run.reported_at is not None


def test_batch_of_metrics_params_and_tags_is_ingested(api):
    run = RunFactory(recipe=None, hyperparameters={})
    batch = {
        "metrics": [metric()],
        "params": [{"key": "lr", "value": "0.1"}],
        "tags": [{"key": "mlflow.user", "value": "小李"}],
    }

    response = api.post_json(LOG_BATCH, {"run_id": run.pk, **batch})

    run.refresh_from_db()
    assert response.status_code == 200
    assert (run.metrics, run.hyperparameters) == ({"loss": 0.5}, {"lr": "0.1"})
    assert run.tags["mlflow.user"] == "小李"


def test_batch_with_changed_param_stores_no_metric(api):
    run = RunFactory(recipe=None, hyperparameters={"lr": "0.1"})
    batch = {"metrics": [metric()], "params": [{"key": "lr", "value": "0.2"}]}

    response = api.post_json(LOG_BATCH, {"run_id": run.pk, **batch})

    assert response.status_code == 400
    assert "Changing param values is not allowed" in response.json()["message"]
    assert stored(run) == []


# --- rejected requests -----------------------------------------------------------------------


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
        (metric(timestamp=-1), "metrics[1].timestamp"),
        (metric(timestamp=AT * 1_000_000), "metrics[1].timestamp"),  # nanoseconds
        ("loss", "metrics[1]"),
    ],
)
def test_batch_with_one_invalid_point_is_rejected_and_names_it(api, bad, word):
    run = RunFactory()

    response = api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric(), bad]})

    assert response.status_code == 400
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert word in response.json()["message"]
    assert stored(run) == []


def test_lone_surrogate_in_key_is_rejected(api):
    body = json.dumps({"run_id": RunFactory().pk, **metric(key="\ud800")})

    response = api.post(LOG_METRIC, body, content_type="application/json")

    assert response.status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"{}", b"[" * 5000])
def test_malformed_body_is_rejected(api, body):
    response = api.post(LOG_BATCH, body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_batch_over_the_limit_is_rejected(api):
    run = RunFactory()

    response = api.post_json(LOG_BATCH, {"run_id": run.pk, "metrics": [metric()] * 1001})

    assert response.status_code == 400
    assert stored(run) == []


@pytest.mark.parametrize("batch", [{}, {"metrics": [], "params": None}])
def test_empty_batch_for_unknown_run_is_not_found(api, batch):
    assert api.post_json(LOG_BATCH, {"run_id": "run_none", **batch}).status_code == 404


def test_run_in_trash_rejects_metrics(api):
    run = RunFactory(deleted_at=timezone.now())

    response = api.post_json(LOG_METRIC, {"run_id": run.pk, **metric()})

    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert stored(run) == []


@pytest.mark.parametrize("run_id", ["run_none", "", "a\x00b", "x" * 10_000])
def test_unknown_run_is_not_found(api, run_id):
    response = api.post_json(LOG_METRIC, {"run_id": run_id, **metric()})

    assert response.status_code == 404
    assert response.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_body_over_the_limit_is_rejected(api, settings):
    settings.MAX_JSON_BYTES = 100

    response = api.post_json(LOG_METRIC, {"run_id": "x" * 200, **metric()})

    assert response.status_code == 400


# --- history ---------------------------------------------------------------------------------


def test_history_is_ordered_by_step_then_timestamp(api):
    run = RunFactory()
    record_metrics(
        run, [Point("loss", 2, 0.1, 5), Point("loss", 1, 0.3, 9), Point("loss", 2, 1, 4)]
    )

    response = history(api, run)

    assert response == {
        "metrics": [
            {"key": "loss", "value": 0.3, "timestamp": 9, "step": 1},
            {"key": "loss", "value": 1.0, "timestamp": 4, "step": 2},
            {"key": "loss", "value": 0.1, "timestamp": 5, "step": 2},
        ]
    }


def test_history_pages_are_complete(api):
    run = RunFactory()
    values = [math.nan, math.inf, -math.inf, 0.1, *range(7)]
    record_metrics(run, [Point("loss", step // 3, value, 0) for step, value in enumerate(values)])

    points, token = [], ""
    while True:
        page = history(api, run, max_results=2, **({"page_token": token} if token else {}))
        points += page["metrics"]
        token = page.get("next_page_token", "")
        if not token:
            break

    assert len(points) == len(values)
    assert [point["step"] for point in points] == sorted(point["step"] for point in points)
    assert {str(float(point["value"])) for point in points} == {str(float(item)) for item in values}


def test_history_of_unknown_metric_is_empty(api):
    assert history(api, RunFactory()) == {"metrics": []}


@pytest.mark.parametrize("token", ["x", "1:2", "1:2:y", "99999999999999999999:0:0"])
def test_invalid_page_token_is_rejected(api, token):
    response = api.get(
        HISTORY, {"run_id": RunFactory().pk, "metric_key": "loss", "page_token": token}
    )

    assert response.status_code == 400
