"""What a running web server writes: JSON, with the ids of requests, and without secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.web_server import WebServer, web_server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

TOKEN = "th_" + "0123456789abcdef" * 4
SECRET = "the-key-of-this-installation"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    environment = {
        "TRAINHUB_LOG_FORMAT": "json",
        "TRAINHUB_LOG_LEVEL": "DEBUG",
        "TRAINHUB_ACCESS_LOG": tmp_path / "access.log",
        "TRAINHUB_SECRET_KEY": SECRET,
    }
    with web_server(tmp_path, **environment) as server:
        yield server


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_lines_of_a_request_have_its_id_and_no_secret(server: WebServer, tmp_path: Path) -> None:
    credentials = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"sessionid={TOKEN}"}
    path = f"/projects/{SECRET}/{TOKEN}"
    access = tmp_path / "access.log"

    server.api.get(f"/projects/x?token={TOKEN}", **credentials, X_Request_Id="mine-0")
    server.api.get("/login/reset/MQ/c0ffee-5ec2e7", X_Request_Id="mine-2")
    answer = server.api.get(path, **credentials, X_Request_Id="mine-1")
    wait_until(lambda: any(line["request"] == "mine-1" for line in lines(access)))

    assert answer.headers["X-Request-Id"] == "mine-1"
    [line] = [line for line in lines(server.log) if line.get("request") == "mine-1"]
    assert line["message"] == "Not Found: /projects/***/th_***"
    paths = {line["request"]: line["path"] for line in lines(access)}
    assert (paths["mine-0"], paths["mine-1"]) == ("/projects/x", "***")
    assert paths["mine-2"] == "/login/reset/***"
    written = server.log.read_text() + access.read_text()
    assert not any(secret in written for secret in (TOKEN, SECRET, "5ec2e7"))
