"""`manage.py up` as its users run it: a process of its own, on a data directory of its own."""

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

from trainhub.embedded_postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[1]
START_SECONDS = 60  # on a machine that is busy with other tests
STOP_SECONDS = 10  # what `up` promises
READY = "Ctrl-C stops it"  # the last line of its greeting
# Whatever proxy the environment names: it does not lead to this machine.
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
    """Start it, stop it, kill parts of it, start it again: the data directory stays."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        """``environment`` goes over the defaults, e.g. TRAINHUB_SIMULATION_STEPS_PER_SECOND."""
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
            "DATABASE_URL": "",  # not the tests' own, nor that of a .env
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
        """Start it and return when it has said that it runs, or at once if ``wait`` is false.

        ``through_shell``: as `make up` does, from a shell that it is to stop with.
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
            lambda: READY in self.output or process.poll() is not None, START_SECONDS, "it runs"
        )
        assert process.poll() is None, self.output

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Tell it to stop, wait until it has; return the seconds it took. It must exit with 0."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=START_SECONDS)
        seconds = time.monotonic() - started
        assert code == 0, self.output
        return seconds

    def run_to_end(self) -> int:
        """For starts that fail: the exit code."""
        self.start(wait=False)
        assert self.process is not None
        return self.process.wait(timeout=START_SECONDS)

    # What it says and answers

    @property
    def output(self) -> str:
        """What it and its children have printed since the last start."""
        return self.log_path.read_bytes()[self._log_start :].decode()

    @property
    def password(self) -> str | None:
        """The administrator's, if it was printed since the last start."""
        found = re.search(r"with the password (\S+)", self.output)
        return found and found[1]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; (0, "") when nothing answers."""
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
        """The processes whose command line has ``part`` ("up", "serve", "run_worker"), parents
        first."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):  # it has ended meanwhile
                if part in process.cmdline():
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """All that work on this data directory, whoever is their parent, oldest first.

        PostgreSQL's are known by their command line or title, the others by their environment.
        """
        found = [process for process in psutil.process_iter() if self._is_ours(process)]
        return sorted(found, key=lambda process: process.create_time())

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.name() == "postgres":
                return os.path.samefile(f"/proc/{process.pid}/cwd", self.data_dir / "postgres/data")
            own = str(self.data_dir)
            return any(own in text for text in (*process.environ().values(), *process.cmdline()))
        except (psutil.Error, OSError):  # it has ended meanwhile
            return False

    def kill_everything(self) -> None:
        """kill -9 for every process there is."""
        while processes := self.processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=5)
        if self.process is not None:
            self.process.wait(timeout=START_SECONDS)


@contextmanager
def up_process(**environment: str) -> Iterator[UpProcess]:
    """One not yet started, on an empty data directory; whatever it leaves is cleared away."""
    # Short, because a UNIX socket's path is; pytest's own temporary folders may not be.
    parent = Path(tempfile.mkdtemp(prefix="up-", dir="/tmp"))
    up = UpProcess(parent / "data", **environment)
    try:
        yield up
    finally:
        up.kill_everything()
        shutil.rmtree(parent)
