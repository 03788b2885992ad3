"""Behavior of every MLflow protocol URL."""

import pytest

from tests.clients import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return ApiClient()


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_unknown_endpoint_is_an_mlflow_error(api, method):
    response = getattr(api, method)("/api/2.0/mlflow/nothing/here", content_type="application/json")

    assert response.status_code == 404
    assert response.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_unauthenticated_request_is_an_mlflow_error(api, settings):
    settings.OPEN_MODE = False

    response = api.get("/api/2.0/mlflow/nothing/here")

    assert response.status_code == 401
    assert response.json()["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "path",
    [
        *("/api/3.0/mlflow/traces", "/api/2.0/mlflow/traces/search"),
        *("/api/3.0/mlflow/traces/tr-1/info", "/api/3.0/mlflow/datasets/create"),
        *("/api/3.0/mlflow/scorers/list", "/api/3.0/mlflow/label-schemas/create"),
        *("/api/3.0/mlflow/review-queues/get", "/api/3.0/mlflow/prompt-optimization/jobs"),
        *(
            "/v1/traces",
            "/api/2.0/mlflow/unified-traces",
            "/api/2.0/mlflow/get-online-trace-details",
        ),
    ],
)
def test_what_is_not_kept_is_said(api, path):
    response = api.post_json(path, {}, headers={"Accept-Language": "en"})

    assert response.status_code == 404
    assert response.json()["error_code"] == "ENDPOINT_NOT_FOUND"
    assert "no traces, evaluations or assessments" in response.json()["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"run_id": 31, "metrics": []}, "Invalid value 31 for parameter 'run_id' supplied"),
        ({"run_id": "r", "tags": "x"}, "Invalid value \"x\" for parameter 'tags' supplied"),
        (
            {"run_id": "r", "metrics": [{"key": "a", "value": 1, "timestamp": 2**70}]},
            f"Invalid value {2**70} for parameter 'metrics[0].timestamp' supplied",
        ),
        ({"metrics": []}, "Missing value for required parameter 'run_id'."),
        ({"run_id": None}, "Missing value for required parameter 'run_id'."),
        (
            {"run_id": "r", "metrics": [{"key": "a", "value": 1}]},
            "Missing value for required parameter 'metrics[0].timestamp'.",
        ),
    ],
)
def test_error_names_the_parameter_and_its_value(api, body, message):
    path = "/api/2.0/mlflow/runs/log-batch"
    response = api.post_json(path, body, headers={"Accept-Language": "en"})

    assert response.status_code == 400
    assert message in response.json()["message"]
