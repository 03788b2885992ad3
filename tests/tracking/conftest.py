"""Fixtures: a minimal MLflow protocol client."""

from typing import Any

import pytest

from tests.artifacts.conftest import s3, s3_server  # noqa: F401
from tests.clients import ApiClient

MLFLOW = "/api/2.0/mlflow/"


class MlflowClient(ApiClient):
    """``get_ok`` and ``post_ok`` expect 200 and return JSON; ``error`` returns (status, code)."""

    def post_ok(self, path: str, **body: Any) -> Any:
        response = self.post_json(MLFLOW + path, body)
        assert response.status_code == 200, response.content
        return response.json()

    def get_ok(self, path: str, **query: Any) -> Any:
        response = self.get(MLFLOW + path, query)
        assert response.status_code == 200, response.content
        return response.json()

    def error(self, path: str, method: str = "post", **body: Any) -> tuple[int, str]:
        url = MLFLOW + path
        response = self.get(url, body) if method == "get" else self.post_json(url, body)
        assert set(response.json()) == {"error_code", "message"}, response.content
        assert response.json()["message"]
        return response.status_code, response.json()["error_code"]


@pytest.fixture
def mlflow() -> MlflowClient:
    return MlflowClient()
