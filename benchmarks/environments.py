"""A separate virtual environment for each peer, so their packages do not conflict with TrainHub's.

BENCH_PEERS is a folder with existing environments (mlflow, fasttrackml, mlflow-client, profiler).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trainhub.up.postgres_account import POSTGRES_MAJOR

ROOT: Final = Path(__file__).resolve().parent.parent
BENCH: Final = ROOT / ".bench"
REQUIREMENTS: Final = {
    "mlflow": "requirements-mlflow.txt",
    "fasttrackml": "requirements-fasttrackml.txt",
    "mlflow-client": "requirements-client.txt",
    "profiler": "requirements-profiler.txt",
}
PACKAGES: Final = {
    "mlflow": "mlflow",
    "fasttrackml": "FastTrackML",
    "mlflow-client": "mlflow-skinny",
}


def program(environment: str, name: str) -> str:
    """Return the path of a program in an environment, which is created if missing."""
    ready = Path(os.environ.get("BENCH_PEERS", BENCH / "peers")) / environment
    if (ready / "bin" / name).exists():
        return str(ready / "bin" / name)
    own = BENCH / "peers" / environment
    requirements = Path(__file__).with_name(REQUIREMENTS[environment])
    stamp = own / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", own], check=True)
        pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        options = ["--disable-pip-version-check", "--requirement", str(requirements)]
        subprocess.run([*pip, *options], check=True)
        stamp.write_text(requirements.read_text())
    return str(own / "bin" / name)


def versions(environments: Iterable[str] = PACKAGES) -> list[str]:
    """Return the installed versions of the peers."""
    peers = []
    for environment in environments:
        package = PACKAGES[environment]
        code = f"from importlib.metadata import version; print(version({package!r}), end='')"
        command = [program(environment, "python"), "-c", code]
        number = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peers.append(f"{package} {number}")
    return [", ".join([*peers, f"PostgreSQL {POSTGRES_MAJOR} (embedded, defaults of durability)"])]
