"""A TrainHub for trainings of real frameworks: a web server, and a worker that starts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from tests.conftest import empty_database
from tests.frameworks.hub import Hub, make_recipes
from tests.frameworks.recipes import INTERPRETER
from tests.web_server import web_server
from tests.workers import WorkerProcess


@pytest.fixture(scope="package")
def hub(
    django_db_setup, django_db_blocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    if not INTERPRETER.exists():
        pytest.fail("The frameworks are not installed: run make test-frameworks")
    with django_db_blocker.unblock():
        make_recipes()
    with web_server(tmp_path_factory.mktemp("hub")) as server:
        worker = WorkerProcess(
            "frameworks",
            TRAINHUB_DATA_DIR=server.data,
            TRAINHUB_PORT=server.port,
            TRAINHUB_EXECUTORS="process",
        )
        yield Hub(server)
        worker.terminate()
        assert worker.wait() == 0
        output = worker.output()
    with django_db_blocker.unblock():
        empty_database()
        connections.close_all()
    assert "Traceback" not in output, output
