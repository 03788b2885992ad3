"""Runs scripts with one version of the MLflow client, in its own virtual environment."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

SCRIPTS = Path(__file__).parent / "scripts"
TIMEOUT_SECONDS = 120  # per script, on a machine busy with other tests


def interpreter_of(version: str) -> Path:
    """``version`` is the major version of MLflow, see requirements-mlflow-*.txt."""
    return Path(settings.BASE_DIR) / f".venv-mlflow-{version}" / "bin" / "python"


@dataclass
class ScriptResult:
    """The output of a script and the results it wrote as JSON."""

    output: str
    results: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.results[name]


@dataclass
class Client:
    version: str
    server: str
    directory: Path

    def run(self, script: str, **environment: str) -> ScriptResult:
        """Run ``scripts/{script}.py``, which writes its results as JSON to the file named by its
        first argument."""
        results_file = self.directory / f"{script}.json"
        process = subprocess.run(
            [interpreter_of(self.version), SCRIPTS / f"{script}.py", results_file],
            cwd=self.directory,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert process.returncode == 0, process.stdout
        return ScriptResult(
            process.stdout, json.loads(results_file.read_text()) if results_file.exists() else {}
        )

    def _environment(self, overrides: dict[str, str]) -> dict[str, str]:
        defaults = {
            "MLFLOW_TRACKING_URI": self.server,
            # By default, clients retry a 5xx response for four minutes.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
            "MLFLOW_DISABLE_TELEMETRY": "true",  # no calls to mlflow.org
            "GIT_PYTHON_REFRESH": "quiet",
            "NO_PROXY": "*",
            "HOME": str(self.directory),  # clients read ~/.mlflow/credentials
            "PYTHONWARNINGS": "ignore",
        }
        inherited = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("MLFLOW_", "PYTHON", "DJANGO_", "PYTEST_"))
        }
        return {**inherited, **defaults, **overrides}
