"""One server for all tests of the command line, which is signed in to it; a worker where one is
needed. The tests' database is emptied after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from projects.models import Project
from runs.models import Recipe
from tests.client.program import Program
from tests.factories import ProjectFactory
from tests.web_server import WebServer, web_server
from tests.workers import WorkerProcess


@pytest.fixture(scope="session")
def running_server(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("client")) as running:
        yield running


@pytest.fixture
def server(transactional_db: None, running_server: WebServer, settings: Settings) -> WebServer:
    """Its files are the test's, too."""
    settings.WORK_DIR = running_server.data / "runs"
    location = str(running_server.data / "artifacts")
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {**settings.STORAGES["artifacts"], "OPTIONS": {"location": location}},
    }
    return running_server


@pytest.fixture
def trainhub(server: WebServer, project: Project, tmp_path: Path) -> Program:
    home = tmp_path / "home"
    home.mkdir()
    return Program(home, TRAINHUB_URL=server.url, TRAINHUB_PROJECT=project.pk)


@pytest.fixture
def project(server: WebServer) -> Project:
    return ProjectFactory.create(name="model", default_hyperparameters={})


@pytest.fixture
def worker(server: WebServer) -> Iterator[WorkerProcess]:
    process = WorkerProcess("worker", "--slots", "4").ready()
    yield process
    process.kill()


@pytest.fixture
def code_recipe(server: WebServer) -> Recipe:
    """As an operator writes it."""
    return Recipe.objects.create(
        name="code",
        executor="process",
        command=["{python}", "{code}/train.py"],
        code="required",
        code_from="members",
        default_hyperparameters={"max_steps": 20},
    )
