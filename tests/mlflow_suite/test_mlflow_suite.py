"""MLflow's own tests of its server, against TrainHub: docs/mlflow.md.

Run only if it is named: pytest tests/mlflow_suite. MLFLOW_CHECKOUT is a checkout of MLflow's
repository, MLFLOW_PYTHON an interpreter with what requirements.txt lists.
"""

import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.conftest import empty_database
from tests.web_server import web_server

HERE = Path(__file__).parent
FILES = ["tests/tracking/test_rest_tracking.py", "tests/tracking/test_model_registry.py"]
GROUPS = tomllib.loads((HERE / "differences.toml").read_text())["group"]
SECONDS_PER_TEST = 120


class Emptier(BaseHTTPRequestHandler):
    """Each request empties the database."""

    def do_POST(self) -> None:
        empty_database()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def setting(name: str) -> str:
    if not os.environ.get(name):
        pytest.fail(f"Set {name}: docs/mlflow.md says how.", pytrace=False)
    return os.environ[name]


def outcomes_with(server: str, emptier: HTTPServer, folder: Path) -> dict[str, str]:
    """How each of MLflow's tests has ended, by its name."""
    foreign = ("PYTEST_", "DJANGO_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    outcomes = folder / "outcomes.txt"
    environment = kept | {
        "PYTHONPATH": str(HERE),
        "TRAINHUB_ADDRESS": server,
        "TRAINHUB_EMPTIER": f"http://127.0.0.1:{emptier.server_port}",
        "TRAINHUB_OUTCOMES": str(outcomes),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_PROXY": "*",
    }
    options = ["-p", "served_by_trainhub", "-p", "no:cacheprovider", "-W", "ignore"]
    limit = f"--timeout={SECONDS_PER_TEST}"
    with subprocess.Popen(
        [setting("MLFLOW_PYTHON"), "-m", "pytest", *options, limit, *FILES],
        cwd=setting("MLFLOW_CHECKOUT"),
        env=environment,
    ) as process:
        while process.poll() is None:
            emptier.handle_request()
    return dict(line.rsplit(" ", 1) for line in outcomes.read_text().splitlines())


def group_of(test: str) -> int | None:
    name = test.partition("[")[0]
    return next(
        (
            number
            for number, group in enumerate(GROUPS)
            if any(fnmatchcase(name, pattern) for pattern in group["tests"])
        ),
        None,
    )


def summary(outcomes: dict[str, str], failed: list[str]) -> str:
    passed = sum(outcome == "passed" for outcome in outcomes.values())
    lines = ["", f"{len(outcomes)} run, {passed} passed"]
    for number, group in enumerate(GROUPS):
        lines.append(f"{sum(group_of(test) == number for test in failed)} not: {group['why']}")
    return "\n".join([*lines, ""])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_does_not_pass_is_known(tmp_path, capsys):
    with web_server(tmp_path) as server, HTTPServer(("127.0.0.1", 0), Emptier) as emptier:
        emptier.timeout = 1
        outcomes = outcomes_with(server.url, emptier, tmp_path)

    assert "Traceback" not in server.log.read_text()
    failed = [test for test, outcome in outcomes.items() if outcome == "failed"]
    with capsys.disabled():
        sys.stdout.write(summary(outcomes, failed))
    assert [test for test in failed if group_of(test) is None] == []
