"""What MLflow's clients ask of the server itself."""

import pytest

pytestmark = pytest.mark.django_db


def test_health_is_open_to_everybody(mlflow, settings):
    settings.OPEN_MODE = False

    answer = mlflow.get("/health")

    assert (answer.status_code, answer.content) == (200, b"OK")


def test_version_is_one_of_mlflows(mlflow):
    answer = mlflow.get("/version")

    assert answer.status_code == 200
    assert [part.isdigit() for part in answer.content.decode().split(".")] == [True] * 3


def test_server_says_what_it_can_do(mlflow):
    answer = mlflow.get("/api/3.0/mlflow/server-info")

    assert answer.status_code == 200
    assert answer.json()["store_type"] == "SqlStore"
    assert answer.json()["workspaces_enabled"] is False


def test_root_leads_to_the_pages(mlflow):
    answer = mlflow.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/dashboard")
