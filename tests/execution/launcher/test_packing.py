"""The launcher in one file, on a machine that has Python and psutil and nothing of TrainHub."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from execution.launcher import packing


@pytest.fixture
def python(tmp_path):
    """An interpreter whose only package is psutil."""
    home = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next(home.glob("lib/python*/site-packages"))
    shutil.copytree(Path(psutil.__file__).parent, packages / "psutil")
    return str(home / "bin" / "python")


@pytest.fixture
def attempt(tmp_path):
    folder = tmp_path / "attempt"
    folder.mkdir()
    command = [sys.executable, "-c", "print('trained'); raise SystemExit(3)"]
    launch = {"command": command, "environment": {"PATH": os.environ["PATH"]}}
    (folder / "launch.json").write_text(json.dumps(launch))
    return folder


def test_packed_launcher_runs_where_only_psutil_is_installed(python, attempt, tmp_path):
    packing.pack(tmp_path / "launcher.pyz")

    subprocess.run(
        [python, "-I", str(tmp_path / "launcher.pyz"), str(attempt)],
        check=True,
        timeout=60,
        cwd=tmp_path,
        env={},
    )

    assert json.loads((attempt / "exit.json").read_text())["returncode"] == 3
    assert (attempt / "stdout.log").read_text() == "trained\n"
