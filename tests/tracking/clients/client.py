"""An MLflow client of one version, in the interpreter that has it (requirements-mlflow-*.txt)."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

SCRIPTS = Path(__file__).parent / "scripts"
SECONDS = 120  # of a script, on a machine that is busy with other tests


def interpreter_of(version: str) -> Path:
    """``version``: the first number of MLflow's."""
    return Path(settings.BASE_DIR) / f".venv-mlflow-{version}" / "bin" / "python"


@dataclass
class Ran:
    """What a script did."""

    output: str
    told: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.told[name]


@dataclass
class Client:
    version: str
    server: str
    directory: Path

    def run(self, script: str, **environment: str) -> Ran:
        """Run ``scripts/{script}.py``, which tells what it has seen as JSON, in the file that its
        first argument names."""
        told = self.directory / f"{script}.json"
        done = subprocess.run(
            [interpreter_of(self.version), SCRIPTS / f"{script}.py", told],
            cwd=self.directory,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout
        return Ran(done.stdout, json.loads(told.read_text()) if told.exists() else {})

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        ours = {
            "MLFLOW_TRACKING_URI": self.server,
            # A client would hide an answer of 5xx behind four minutes of attempts.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
            "MLFLOW_DISABLE_TELEMETRY": "true",  # it would call home
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
        return {**inherited, **ours, **more}
