"""Runs the command line from its source, as a process of its own, against a running server."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings

CLIENT = Path(settings.BASE_DIR) / "client"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def _heed_interrupts() -> None:
    """Also if the tests were started in the background of a shell, which ignores them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Program:
    """``home``: where its configuration is. ``variables``: of its environment."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONPATH": str(CLIENT),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "TZ": "Asia/Shanghai",
            **variables,
        }

    command: ClassVar = [sys.executable, "-m", "trainhub_client"]

    def start(self, *arguments: str, cwd: Path | None = None, **options: Any) -> Any:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=cwd or self.home,
            env=self.environment,
            text=True,
            preexec_fn=_heed_interrupts,
            **{**pipes, **options},
        )

    def __call__(self, *arguments: str, cwd: Path | None = None, given: str = "") -> Done:
        with self.start(*arguments, cwd=cwd) as process:
            out, err = process.communicate(given, timeout=120)
        return Done(process.returncode, out, err)

    def python(self, code: str) -> str:
        """What a program prints that uses the client's modules."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout
