"""Runs ``manage.py serve`` as a subprocess on the test's database and files."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from tests.http import Api
from tests.up_process import free_port
from tests.waiting import wait_until
from tests.workers import database_url


class WebServer:
    """A web server in open mode that can be killed and restarted on its port."""

    def __init__(self, data: Path | None = None, **environment: object) -> None:
        """``data``: its data directory (default: the test's own)."""
        self.data = data or Path(settings.WORK_DIR).parent
        self.log = self.data / "web.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.url)
        overrides = {
            "DATABASE_URL": database_url(),
            "TRAINHUB_DATA_DIR": self.data,
            "TRAINHUB_PORT": self.port,
            "TRAINHUB_LOG_LEVEL": "WARNING",
            **environment,
        }
        self.environment = os.environ | {key: str(value) for key, value in overrides.items()}

    def start(self) -> None:
        """Start it and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.api.get("/readyz").status in (200, 401)  # 401: ready, requires sign-in
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9 all its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)


def collect_static_files(data: Path | None = None) -> None:
    """Where a web server with that data directory has them: without, it shows no pages."""
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"TRAINHUB_DATA_DIR": str(data or Path(settings.WORK_DIR).parent)},
        check=True,
    )


@contextmanager
def web_server(data: Path | None = None, **environment: object) -> Iterator[WebServer]:
    server = WebServer(data, **environment)
    try:
        server.start()
        yield server
    finally:
        server.kill()
