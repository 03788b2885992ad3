"""The web server while its database is stopped, or has no connection left."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tests.waiting import wait_until
from tests.web_server import WebServer, web_server
from trainhub.up.embedded_postgres import EmbeddedPostgres

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("outages")]  # one cluster for all

REST, MLFLOW, PAGE = "/projects", "/api/2.0/mlflow/experiments/get?experiment_id=1", "/dashboard"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    few = {"max_connections": "12", "reserved_connections": "0", "fsync": "off"}
    with tempfile.TemporaryDirectory(prefix="th-", dir="/tmp") as folder:
        cluster = EmbeddedPostgres(Path(folder) / "pg", settings=few)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def server(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": cluster.url},
        check=True,
    )
    data = tmp_path_factory.mktemp("outages")
    one = {"TRAINHUB_WEB_PROCESSES": 1, "TRAINHUB_WEB_THREADS": 2}
    with web_server(data, DATABASE_URL=cluster.url, **one) as server:
        yield server


def test_stopped_database_is_answered_with_503_and_a_line_until_it_is_back(
    cluster: EmbeddedPostgres, server: WebServer
):
    assert server.api.get(REST).status == 200
    lines_before = len(server.log.read_text().splitlines())

    cluster.stop()
    answers = {path: server.api.get(path, Accept_Language="en") for path in (REST, MLFLOW, PAGE)}
    more = {server.api.get(REST).status for _ in range(20)}
    cluster.start()
    wait_until(lambda: server.api.get(REST).status == 200)

    assert {answer.status for answer in answers.values()} | more == {503}
    assert {answer.headers.get("retry-after") for answer in answers.values()} == {"5"}
    assert answers[REST].json["errors"][0]["code"] == "database_unavailable"
    assert answers[MLFLOW].json["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert "cannot be reached" in answers[PAGE].body.decode()
    lines = server.log.read_text().splitlines()[lines_before:]
    assert len(lines) == 2, lines  # it is away; it is back, with the number of requests


def test_request_without_a_connection_left_is_answered_with_503(
    cluster: EmbeddedPostgres, server: WebServer
):
    with ExitStack() as stack:
        take_all_connections(cluster, stack)
        refused = server.api.get(REST)

    assert refused.status == 503
    assert refused.json["errors"][0]["code"] == "database_unavailable"
    wait_until(lambda: server.api.get(REST).status == 200)
    assert "Traceback" not in server.log.read_text()


def take_all_connections(cluster: EmbeddedPostgres, stack: ExitStack) -> None:
    """Also those that the server's threads have."""
    ours = [stack.enter_context(psycopg.connect(cluster.url, autocommit=True))]
    while True:
        ours[0].execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> ALL (%s)",
            [[connection.info.backend_pid for connection in ours]],
        )
        try:
            ours.append(stack.enter_context(psycopg.connect(cluster.url, autocommit=True)))
        except psycopg.OperationalError:
            return
