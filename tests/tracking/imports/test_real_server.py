"""An MLflow server with 200 runs is imported: its client then reads the same from both.

make test-import, which installs the server into an environment of its own.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from runs.models import Run
from tests.conftest import empty_database
from tests.http import Api
from tests.up_process import free_port
from tests.waiting import wait_until
from tests.web_server import web_server
from tests.workers import database_url

SCRIPTS = Path(__file__).parent / "scripts"
PROGRAMS = Path(
    os.environ.get("TEST_IMPORT_MLFLOW", settings.BASE_DIR / ".venv-mlflow-server" / "bin")
)
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "NO_PROXY": "*",
}

pytestmark = [
    pytest.mark.skipif(not os.environ.get("TEST_IMPORT"), reason="run by make test-import"),
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """The address of a server with 200 runs."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [PROGRAMS / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | QUIET,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _answers(address, process), seconds=120, or_say=log.read_text())
        _client("fill", address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address, process):
    assert process.poll() is None, "the server has ended"
    try:
        return Api(address).get("/health").status == 200
    except OSError:
        return False


def _client(script, *arguments):
    """Run a script with MLflow's client."""
    done = subprocess.run(
        [PROGRAMS / "python", SCRIPTS / f"{script}.py", *arguments],
        env={"PATH": os.environ["PATH"], **QUIET},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def trainhub(tmp_path):
    """A web server of TrainHub on the database of the test."""
    with web_server(tmp_path) as server:
        yield server
    connections.close_all()
    empty_database()
    assert "Traceback" not in server.log.read_text()


def _importing(trainhub, address):
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "import_mlflow", address],
        cwd=settings.BASE_DIR,
        env=trainhub.environment | {"LC_ALL": "C.UTF-8", "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finished(process, code=0):
    output, errors = process.communicate(timeout=900)
    assert process.returncode == code, output + errors
    return output


def _read(address, file):
    _client("read", address, str(file))
    return json.loads(file.read_text())


def test_its_client_reads_the_same_from_both_though_the_import_was_interrupted(
    mlflow_server, trainhub, tmp_path
):
    interrupted = _importing(trainhub, mlflow_server)
    wait_until(lambda: Run.objects.filter(is_hidden=False).count() >= 30, seconds=120)
    os.killpg(interrupted.pid, signal.SIGINT)
    _finished(interrupted, 130)
    killed = _importing(trainhub, mlflow_server)
    wait_until(lambda: Run.objects.filter(is_hidden=False).count() >= 90, seconds=120)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()

    said = _finished(_importing(trainhub, mlflow_server))
    again = _finished(_importing(trainhub, mlflow_server))

    assert "Runs: 0 new, 0 continued, 134 unchanged, 1 in the trash." in again, said + again
    here = _read(trainhub.url, tmp_path / "here.json")
    there = _read(mlflow_server, tmp_path / "there.json")
    assert sum(len(e["runs"]) for e in there["experiments"].values()) == 201
    assert here["experiments"].keys() == there["experiments"].keys()
    for name, experiment in there["experiments"].items():
        assert here["experiments"][name] == experiment
    assert here == there
