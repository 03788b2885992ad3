"""Fixtures: unmodified MLflow clients in their own processes, and a TrainHub server for them.

A client takes seconds to start, so each script runs once for several tests. Tests read the outcome
through TrainHub's REST API, as users would, and do not access the database themselves.
"""

import os
from collections.abc import Iterator

import pytest
from django.db import connections

from tests.clients import ApiClient
from tests.conftest import empty_database
from tests.http import Api
from tests.tracking.clients.client import Client, interpreter_of
from tests.web_server import WebServer, web_server


def on_its_own_core(version: str):
    """Run the tests of one version together; different versions may run in parallel."""
    group = pytest.mark.xdist_group(f"mlflow-{version}")
    return pytest.param(version, marks=[group, pytest.mark.processes])


@pytest.fixture(scope="package", params=[on_its_own_core("3"), on_its_own_core("2")])
def version(request: pytest.FixtureRequest) -> str:
    """The major version of the client."""
    require_client(request.param)
    return request.param


def require_client(version: str) -> None:
    if interpreter_of(version).exists():
        return
    reason = f"MLflow {version} client not found: run make .venv-mlflow-{version}/.installed"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def server(
    version: str, django_db_setup, django_db_blocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """A server in open mode, which must never log a traceback."""
    folder = tmp_path_factory.mktemp(f"mlflow-{version}")
    with web_server(folder) as server:
        yield server
    with django_db_blocker.unblock():
        empty_database()
        connections.close_all()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()


@pytest.fixture(scope="package")
def client(version: str, server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(version, server.url, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="package")
def hub(server: WebServer) -> "Hub":
    return Hub(server.api)


class Hub:
    """TrainHub's own REST API."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str):
        response = self.api.get(path)
        assert response.status == 200, response.body
        return response.json

    def items(self, path: str):
        """The items of a list endpoint, which returns a list or an object with ``items``."""
        content = self.get(path)
        return content["items"] if isinstance(content, dict) else content

    def project(self, name: str):
        [project] = [item for item in self.items("/projects") if item["name"] == name]
        return project

    def runs(self, project: str):
        """The runs of the project, by name."""
        items = self.items(f"/projects/{self.project(project)['id']}/runs")
        return {item["name"]: item for item in items}

    def run(self, project: str, name: str):
        return self.get(self.path_of(project, name))

    def path_of(self, project: str, name: str) -> str:
        run = self.runs(project)[name]
        return f"/projects/{run['project_id']}/runs/{run['id']}"

    def metrics(self, project: str, name: str):
        items = self.items(f"{self.path_of(project, name)}/metrics")
        return {item["key"]: item for item in items}

    def files(self, project: str, name: str):
        """The artifacts logged by a client, by path."""
        items = self.items(f"{self.path_of(project, name)}/artifacts")
        prefix = f"/{self.runs(project)[name]['id']}/files/"
        return {item["path"].partition(prefix)[2]: item for item in items if prefix in item["path"]}

    def page(self, path: str) -> str:
        """A dashboard page; not from the server under test, which has no static files."""
        response = ApiClient().get(f"/dashboard{path}")
        assert response.status_code == 200
        return response.content.decode()
