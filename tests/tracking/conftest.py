"""A client of MLflow's protocol, as the unmodified one speaks it."""

from typing import Any

import pytest

from tests.clients import ApiClient

MLFLOW = "/api/2.0/mlflow/"


class MlflowClient(ApiClient):
    """``ask`` and ``tell`` expect 200 and give the answer; ``refused`` gives (status, code)."""

    def tell(self, path: str, **body: Any) -> Any:
        answer = self.post_json(MLFLOW + path, body)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def ask(self, path: str, **query: Any) -> Any:
        answer = self.get(MLFLOW + path, query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def refused(self, path: str, method: str = "post", **body: Any) -> tuple[int, str]:
        address = MLFLOW + path
        answer = self.get(address, body) if method == "get" else self.post_json(address, body)
        assert set(answer.json()) == {"error_code", "message"}, answer.content
        assert answer.json()["message"]
        return answer.status_code, answer.json()["error_code"]


@pytest.fixture
def mlflow() -> MlflowClient:
    return MlflowClient()
