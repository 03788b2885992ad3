"""MLflow server endpoints: health, version, server info."""

import pytest

pytestmark = pytest.mark.django_db


def test_health_requires_no_authentication(mlflow, settings):
    settings.OPEN_MODE = False

    response = mlflow.get("/health")

    assert (response.status_code, response.content) == (200, b"OK")


def test_version_is_an_mlflow_version(mlflow):
    response = mlflow.get("/version")

    assert response.status_code == 200
    assert [part.isdigit() for part in response.content.decode().split(".")] == [True] * 3


def test_server_info_reports_capabilities(mlflow):
    response = mlflow.get("/api/3.0/mlflow/server-info")

    assert response.status_code == 200
    assert response.json()["store_type"] == "SqlStore"
    assert response.json()["workspaces_enabled"] is False


def test_root_redirects_to_dashboard(mlflow):
    response = mlflow.get("/")

    assert (response.status_code, response.headers["Location"]) == (302, "/dashboard")
