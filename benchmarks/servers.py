"""The measured servers, one at a time, each on a fresh database of the shared PostgreSQL.

All of them support MLflow's protocol, which creates the experiments, runs and points.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks.client import UnexpectedResponse, call
from benchmarks.database import Cluster
from benchmarks.environments import ROOT, program
from benchmarks.processes import Watched

API: Final = "/api/2.0/mlflow/"
TRAINHUB_PORT, MLFLOW_PORT, FASTTRACKML_PORT, BARE_PORT, NULL_PORT = range(18_900, 18_905)
READY_SECONDS: Final = 120
STOP_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    port: int
    pid: int
    cluster: Cluster
    database: str  # "" if it has none
    points_table: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        """Call an endpoint of MLflow's protocol."""
        return call(self.port, "POST", API + path, content)

    def new_experiment(self) -> str:
        name = f"benchmark {time.time_ns()}"
        return str(self.post("experiments/create", {"name": name})["experiment_id"])

    def new_run(self, experiment_id: str) -> str:
        now = int(1000 * time.time())
        response = self.post("runs/create", {"experiment_id": experiment_id, "start_time": now})
        return str(response["run"]["info"]["run_id"])

    def new_runs(self, count: int) -> list[str]:
        experiment_id = self.new_experiment()
        return [self.new_run(experiment_id) for _ in range(count)]

    def stored_points(self) -> int:
        query = f"SELECT count(*) FROM {self.points_table}"
        return int(self.cluster.value(self.database, query))

    def watched(self) -> Watched:
        pids = {"server": self.pid}
        if self.database:
            pids["PostgreSQL"] = self.cluster.pid
        return Watched(pids)


@contextmanager
def trainhub(
    cluster: Cluster,
    directory: Path,
    *,
    root: Path = ROOT,
    port: int = TRAINHUB_PORT,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """TrainHub as run by `manage.py serve`: two processes, open mode unless ``settings`` differ.
    ``root``: its checkout."""
    directory.mkdir(parents=True, exist_ok=True)

    def environment(database: str) -> dict[str, str]:
        return {
            "DATABASE_URL": cluster.url(database),
            "TRAINHUB_DATA_DIR": str(directory / "trainhub"),
            "TRAINHUB_HOST": "127.0.0.1",
            "TRAINHUB_PORT": str(port),
            "TRAINHUB_WEB_PROCESSES": "2",
            **settings,
        }

    manage = [sys.executable, str(root / "manage.py")]
    log = directory / "trainhub.log"

    def prepare(database: str) -> None:
        for command in (["migrate"], ["collectstatic", "--no-input"]):
            subprocess.run(
                [*manage, *command, "--verbosity", "0"],
                env=os.environ | environment(database),
                check=True,
                cwd=root,
            )

    with (
        _fresh_database(cluster, f"trainhub_{port}", prepare) as database,
        _process([*manage, "serve"], environment(database), log, port) as pid,
    ):
        _wait_until_ready(port, "/health")
        yield Server("TrainHub", port, pid, cluster, database, "metrics_metricpoint")


@contextmanager
def mlflow(cluster: Cluster, directory: Path, *, jobs: bool = False) -> Iterator[Server]:
    """MLflow's own server with two workers; ``jobs``: with its job runner, which uses CPU time."""
    name = "MLflow" if not jobs else "MLflow as shipped"
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": str(jobs).lower(),
    }

    def command(database: str) -> list[str]:
        return [
            *(
                program("mlflow", "mlflow"),
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                str(MLFLOW_PORT),
            ),
            *("--workers", "2"),
            *("--backend-store-uri", cluster.url(database, "postgresql+psycopg2")),
            *("--artifacts-destination", str(directory / "mlflow-artifacts")),
        ]

    log = directory / "mlflow.log"

    def prepare(database: str) -> None:
        with _process(command(database), settings, log, MLFLOW_PORT):
            _wait_until_logged(log, "Application startup complete", times=2)

    with (
        _fresh_database(cluster, "mlflow", prepare) as database,
        _process(command(database), settings, log, MLFLOW_PORT) as pid,
    ):
        _wait_until_logged(log, "Application startup complete", times=2)
        _wait_until_ready(MLFLOW_PORT, "/health")
        yield Server(name, MLFLOW_PORT, pid, cluster, database, "metrics")


@contextmanager
def fasttrackml(cluster: Cluster, directory: Path) -> Iterator[Server]:
    def command(database: str) -> list[str]:
        return [
            *(
                program("fasttrackml", "fml"),
                "server",
                "--listen-address",
                f"127.0.0.1:{FASTTRACKML_PORT}",
            ),
            *("--database-uri", cluster.url(database)),
            *("--default-artifact-root", str(directory / "fasttrackml-artifacts")),
        ]

    log = directory / "fasttrackml.log"

    def prepare(database: str) -> None:
        with _process(command(database), {}, log, FASTTRACKML_PORT):
            _wait_until_ready(FASTTRACKML_PORT, "/health")

    with (
        _fresh_database(cluster, "fasttrackml", prepare) as database,
        _process(command(database), {}, log, FASTTRACKML_PORT) as pid,
    ):
        _wait_until_ready(FASTTRACKML_PORT, "/health")
        yield Server("FastTrackML", FASTTRACKML_PORT, pid, cluster, database, "metrics")


@contextmanager
def bare_django(cluster: Cluster, directory: Path) -> Iterator[Server]:
    """A Django view that returns {}, with TrainHub's web server settings."""
    command = [sys.executable, "-m", "benchmarks.bare_django", str(BARE_PORT)]
    with _process(command, {}, directory / "bare.log", BARE_PORT) as pid:
        _wait_until_ready(BARE_PORT, "/")
        yield Server("bare Django view", BARE_PORT, pid, cluster, "")


@contextmanager
def nothing(cluster: Cluster, directory: Path) -> Iterator[Server]:
    """A server that stores nothing, to measure the speed of the client."""
    command = [sys.executable, "-m", "benchmarks.null_server", str(NULL_PORT)]
    with _process(command, {}, directory / "null.log", NULL_PORT) as pid:
        _wait_until_ready(NULL_PORT, "/")
        yield Server("a server that stores nothing", NULL_PORT, pid, cluster, "")


# --- databases and processes -----------------------------------------------------------------


@contextmanager
def _fresh_database(cluster: Cluster, name: str, prepare: Callable[[str], None]) -> Iterator[str]:
    """A database with the server's tables and no rows, for one measurement."""
    template, database = f"{name}_template", f"{name}_measured"
    if not cluster.has(template):
        cluster.create(template)
        prepare(template)
    cluster.drop(database)
    cluster.create(database, template)
    try:
        yield database
    finally:
        cluster.drop(database)


@contextmanager
def _process(
    command: Sequence[str], settings: Mapping[str, str], log: Path, port: int
) -> Iterator[int]:
    """Run a server in its own process group, which is terminated as a whole."""
    _check_port_is_free(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | settings,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        _terminate(process)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Terminate the whole group and wait until no process is left."""
    deadline = time.monotonic() + STOP_SECONDS
    number = signal.SIGTERM
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        while True:
            process.poll()  # reaps it
            if number == signal.SIGTERM and time.monotonic() > deadline:
                number = signal.SIGKILL
                os.killpg(process.pid, number)
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    process.wait()


def _check_port_is_free(port: int) -> None:
    """Two servers can share a port (SO_REUSEPORT), and each would get part of the other's load."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise RuntimeError(f"Port {port} is in use. Is another benchmark running?")


def _wait_until_ready(port: int, path: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            _request(port, path)
            return
        except (OSError, UnexpectedResponse):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _request(port: int, path: str) -> None:
    with suppress(ValueError):  # "OK" is not JSON
        call(port, "GET", path)


def _wait_until_logged(log: Path, text: str, *, times: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while log.read_text(errors="replace").count(text) < times:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{text!r} did not appear {times} times in {log}.")
        time.sleep(0.1)
