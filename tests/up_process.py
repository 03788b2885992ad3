"""Runs `manage.py up` as a subprocess with its own data directory."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from trainhub.up.embedded_postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[1]
START_SECONDS = 180  # on a machine that is busy with other tests
STOP_SECONDS = 10  # what `up` promises
READY = "Press Ctrl-C to stop"  # in the last line of its startup message
# Ignore proxies from the environment: they cannot reach this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class UpProcess:
    """An `up` that can be started, stopped, partly killed and restarted on one data directory."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        """``environment`` overrides the defaults, e.g. TRAINHUB_SIMULATION_STEPS_PER_SECOND."""
        self.data_dir = data_dir
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        inherited = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("TRAINHUB_", "DJANGO_", "PYTEST_"))
        }
        self.environment = {
            **inherited,
            "DATABASE_URL": "",  # neither the test database nor one from .env
            "LC_ALL": "C.UTF-8",
            "TRAINHUB_DATA_DIR": str(data_dir),
            "TRAINHUB_PORT": str(self.port),
            **environment,
        }
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        self._log_start = 0
        self.process: subprocess.Popen[bytes] | None = None

    # Start and stop

    def start(self, *, wait: bool = True, through_shell: bool = False) -> None:
        """Start it and return when it is ready, or immediately if ``wait`` is false.

        ``through_shell``: start it from a shell and stop it with that shell, as `make up` does.
        """
        if self.process is not None:
            self.process.wait(timeout=START_SECONDS)
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        command = [sys.executable, "manage.py", "up"]
        if through_shell:
            script = '"$0" "$@" --parent $$ & wait'
            command = ["sh", "-c", script, *command]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        assert self.process is not None
        process = self.process
        wait_until(
            lambda: READY in self.output or process.poll() is not None, START_SECONDS, "it is ready"
        )
        assert process.poll() is None, self.output

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Stop it and return the seconds it took. It must exit with 0."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=START_SECONDS)
        seconds = time.monotonic() - started
        assert code == 0, self.output
        return seconds

    def run_to_end(self) -> int:
        """Run until it exits, for starts that fail; return the exit code."""
        self.start(wait=False)
        assert self.process is not None
        return self.process.wait(timeout=START_SECONDS)

    # Output and responses

    @property
    def output(self) -> str:
        """The output of it and its children since the last start."""
        return self.log_path.read_bytes()[self._log_start :].decode()

    @property
    def password(self) -> str | None:
        """The administrator's password, if printed since the last start."""
        match = re.search(r"with the password (\S+)", self.output)
        return match and match[1]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; (0, "") if nothing answers."""
        try:
            with DIRECT.open(f"{self.base_url}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ok(self, path: str) -> None:
        wait_until(lambda: self.get(path)[0] == 200, START_SECONDS, f"{path} answers 200")

    # Its processes

    @property
    def database(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.data_dir / "postgres")

    def find(self, part: str) -> list[psutil.Process]:
        """The processes with ``part`` ("up", "serve", "run_worker") in their command line, parents
        first."""
        matches = []
        for process in self.processes():
            with suppress(psutil.Error):  # it has exited in the meantime
                if part in process.cmdline():
                    matches.append(process)
        return matches

    def processes(self) -> list[psutil.Process]:
        """All processes that use this data directory, including orphans, oldest first.

        PostgreSQL's are found by their working directory, the others by environment, command line
        or working directory.
        """
        ours = [process for process in psutil.process_iter() if self._is_ours(process)]
        return sorted(ours, key=lambda process: process.create_time())

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.name() == "postgres":
                return os.path.samefile(f"/proc/{process.pid}/cwd", self.data_dir / "postgres/data")
            own = str(self.data_dir)
            texts = (*process.environ().values(), *process.cmdline(), process.cwd())
            return any(own in text for text in texts)
        except (psutil.Error, OSError):  # it has exited in the meantime
            return False

    def kill_everything(self) -> None:
        """kill -9 every process."""
        while processes := self.processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=5)
        if self.process is not None:
            self.process.wait(timeout=START_SECONDS)


@contextmanager
def up_process(**environment: str) -> Iterator[UpProcess]:
    """An `up` that is not started, with an empty data directory; cleans up afterwards."""
    # Short, because UNIX socket paths are limited; pytest's temporary directories may be too long.
    parent = Path(tempfile.mkdtemp(prefix="up-", dir="/tmp"))
    up = UpProcess(parent / "data", **environment)
    try:
        yield up
    finally:
        up.kill_everything()
        shutil.rmtree(parent)
