"""`manage.py serve --migrate` in production, as docker-compose.yml starts it."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.http import Api
from tests.processes import lives
from tests.up_process import REPOSITORY, free_port, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("serve")]  # one server for all


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """An empty database, separate from the test database."""
    name = f"serve_{secrets.token_hex(4)}"
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield re.sub(r"/[^/?]*(\?|\Z)", rf"/{name}\1", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    """The running server, with its database migrated, and a client for it."""
    data_dir: Path = tmp_path_factory.mktemp("serve")
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "TRAINHUB_DATA_DIR": str(data_dir),
        "TRAINHUB_PORT": str(port),
        "TRAINHUB_PRODUCTION": "true",
        "TRAINHUB_PLAIN_HTTP": "true",
        "TRAINHUB_SECRET_KEY": "x" * 64,
        "TRAINHUB_OPEN_MODE": "false",
        "TRAINHUB_ALLOWED_HOSTS": "localhost,127.0.0.1,",
    }
    with (data_dir / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--migrate"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    api = Api(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert process.poll() is None, (data_dir / "log").read_text()
        try:
            return api.get("/readyz").status == 401  # ready; 401 because sign-in is required
        except OSError:
            return False

    try:
        wait_until(is_ready, 60, "/readyz no longer answers 503")
        yield process, api
    finally:
        process.kill()
        process.wait()


def test_health_needs_no_sign_in(server: tuple[subprocess.Popen[bytes], Api]):
    _process, api = server

    assert api.get("/healthz").status == 200


@pytest.mark.parametrize("path", ["/projects", "/schema", "/docs", "/redoc"])
def test_api_requires_sign_in(server: tuple[subprocess.Popen[bytes], Api], path: str):
    _process, api = server

    assert api.get(path).status == 401


def web_processes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Those that run the application."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if child.name() != "nginx"]


def test_health_is_answered_while_all_processes_of_the_application_are_stopped(
    server: tuple[subprocess.Popen[bytes], Api],
):
    process, api = server
    for stopped in web_processes(process):
        stopped.send_signal(signal.SIGSTOP)

    assert api.get("/healthz").status == 200


def test_stopped_processes_are_replaced(server: tuple[subprocess.Popen[bytes], Api]):
    process, api = server
    wait_until(lambda: api.get("/health").status == 200, 20, "the application answers")
    old = web_processes(process)

    old[0].send_signal(signal.SIGSTOP)

    wait_until(lambda: not lives(old[0]), 10, "it is killed")
    wait_until(lambda: len(web_processes(process)) == len(old), 20, "there is another one")
    assert {api.get("/health").status for _ in range(20)} == {200}


def test_upload_needs_credentials_before_its_body(server: tuple[subprocess.Popen[bytes], Api]):
    _process, api = server
    upload = "/projects/proj_1/runs/run_1/artifacts/files/model.bin"

    answer = api.call("PUT", upload, b"x" * 1000)

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_processes_that_are_killed_again_and_again_are_replaced(
    server: tuple[subprocess.Popen[bytes], Api],
):
    process, _api = server
    data_dir = Path(psutil.Process(process.pid).environ()["TRAINHUB_DATA_DIR"])

    def loaded() -> list[psutil.Process]:
        beats = {path.name for path in data_dir.glob("web/*/beats/*")}
        return [worker for worker in web_processes(process) if str(worker.pid) in beats]

    for number in range(3):
        if number != 1:  # the second time, they have yet to load the application
            wait_until(lambda: len(loaded()) == 2, 20, "both processes have loaded it")
        wait_until(lambda: len(web_processes(process)) == 2, 20, "both processes are there")
        for worker in web_processes(process):
            worker.kill()
            psutil.wait_procs([worker], timeout=5)

    wait_until(lambda: len(loaded()) == 2, 20, "both processes are there again")
    assert process.poll() is None


def test_second_server_on_the_same_port_is_refused_and_changes_nothing(
    server: tuple[subprocess.Popen[bytes], Api],
):
    process, api = server
    before = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}

    second = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=REPOSITORY,
        env=psutil.Process(process.pid).environ() | {"LC_ALL": "C"},  # the terminal's language
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert second.returncode == 1
    port = api.base_url.rpartition(":")[2]
    assert f"Port {port} on 127.0.0.1 is in use" in second.stderr
    assert {child.pid for child in psutil.Process(process.pid).children(recursive=True)} == before
    assert api.get("/health").status == 200


# Must be the last test: it stops the server.
def test_sigterm_stops_the_server_and_its_processes_once_requests_have_ended(
    server: tuple[subprocess.Popen[bytes], Api],
):
    process, api = server
    main = psutil.Process(process.pid)
    master = next(child for child in main.children() if child.name() == "nginx")
    killed = [*master.children(), master]
    master.kill()  # what ends well with the first nginx has to with another
    wait_until(lambda: not any(map(lives, killed)), 20, "its workers are gone too")
    wait_until(lambda: answers(api), 20, "there is another nginx")
    forks = main.children()
    assert forks
    port = int(api.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"POST /projects HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"Content-Length: 2\r\n\r\n{")
        time.sleep(0.2)

        process.terminate()
        time.sleep(0.6)
        connection.sendall(b"}")

        assert connection.recv(12) == b"HTTP/1.1 401"
    assert process.wait(timeout=10) == 0
    assert [fork for fork in forks if lives(fork)] == []


def answers(api: Api) -> bool:
    try:
        return api.get("/healthz").status == 200
    except OSError:
        return False
