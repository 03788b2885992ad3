"""Runs ``manage.py run_worker`` as a subprocess on the test's database and files."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

from runs.models import Worker
from tests.waiting import wait_until


def database_url() -> str:
    """DATABASE_URL with the name of the test database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))


class WorkerProcess:
    """A worker subprocess that can be killed."""

    def __init__(self, name: str, *arguments: str, **environment: object) -> None:
        self.name = name
        self.data = Path(settings.WORK_DIR).parent
        self.log = self.data / f"worker-{name}.log"
        overrides = {
            "DATABASE_URL": database_url(),
            "TRAINHUB_DATA_DIR": self.data,
            "TRAINHUB_WORKER_TICK_SECONDS": 0.05,
            "TRAINHUB_SIMULATION_STEPS_PER_SECOND": 500,
            **environment,
        }
        command = [sys.executable, "manage.py", "run_worker", "--name", name, *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=settings.BASE_DIR,
                env=os.environ | {key: str(value) for key, value in overrides.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self) -> "WorkerProcess":
        """Wait until it has registered."""

        def registered() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return Worker.objects.filter(name=self.name, pid=self.process.pid).exists()

        wait_until(registered)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for it to exit; return the exit code."""
        return self.process.wait(timeout=60)

    def output(self) -> str:
        return self.log.read_text()
