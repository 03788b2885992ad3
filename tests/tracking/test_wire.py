"""What is true of every address of the MLflow protocol."""

import pytest

from tests.clients import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return ApiClient()


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_unknown_address_is_told_in_mlflows_shape(api, method):
    answer = getattr(api, method)("/api/2.0/mlflow/nothing/here", content_type="application/json")

    assert answer.status_code == 404
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_somebody_unknown_is_told_so_in_mlflows_shape(api, settings):
    settings.OPEN_MODE = False

    answer = api.get("/api/2.0/mlflow/nothing/here")

    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHENTICATED"
