"""MLflow's own clients, unmodified, in processes of their own, and a TrainHub that they talk to.

Each script runs once for several tests: a client takes seconds to start. What it has left is read
through TrainHub's REST API, as users would, by tests that touch no database themselves.
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
    """Tests of a version belong together, and the versions may run side by side."""
    return pytest.param(version, marks=pytest.mark.xdist_group(f"mlflow-{version}"))


@pytest.fixture(scope="package", params=[on_its_own_core("3"), on_its_own_core("2")])
def version(request: pytest.FixtureRequest) -> str:
    """The first number of the client's version."""
    need_client(request.param)
    return request.param


def need_client(version: str) -> None:
    if interpreter_of(version).exists():
        return
    reason = f"no client of MLflow {version} found: make .venv-mlflow-{version}/.installed"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def server(
    version: str, django_db_setup, django_db_blocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """In open mode. It must never have failed, whatever the clients said."""
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
    """TrainHub through its own REST API."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str):
        answer = self.api.get(path)
        assert answer.status == 200, answer.body
        return answer.json

    def items(self, path: str):
        """Of a list, some of which stand in an object."""
        listed = self.get(path)
        return listed["items"] if isinstance(listed, dict) else listed

    def project(self, name: str):
        [found] = [item for item in self.items("/projects") if item["name"] == name]
        return found

    def runs(self, project: str):
        """By name."""
        items = self.items(f"/projects/{self.project(project)['id']}/runs")
        return {item["name"]: item for item in items}

    def run(self, project: str, name: str):
        return self.get(self.address(project, name))

    def address(self, project: str, name: str) -> str:
        found = self.runs(project)[name]
        return f"/projects/{found['project_id']}/runs/{found['id']}"

    def metrics(self, project: str, name: str):
        items = self.items(f"{self.address(project, name)}/metrics")
        return {item["key"]: item for item in items}

    def files(self, project: str, name: str):
        """The artifacts that a client has logged, by their paths."""
        items = self.items(f"{self.address(project, name)}/artifacts")
        begin = f"/{self.runs(project)[name]['id']}/files/"
        return {item["path"].partition(begin)[2]: item for item in items if begin in item["path"]}

    def page(self, path: str) -> str:
        """Of the dashboard. Not from the server under test, which has no static files."""
        answer = ApiClient().get(f"/dashboard{path}")
        assert answer.status_code == 200
        return answer.content.decode()
