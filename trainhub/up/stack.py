"""Database, web server and worker: prepared, started, watched and stopped by `manage.py up`."""

import hashlib
import http.client
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connections
from django.utils.translation import gettext as _

from accounts.open_mode import local_administrator
from trainhub.up import preflight, schema_upgrade
from trainhub.up.data_directory import DataDirectory, ProcessRecord
from trainhub.up.demo import load_demo
from trainhub.up.embedded_postgres import EmbeddedPostgres
from trainhub.up.postgres_errors import EmbeddedPostgresError
from trainhub.up.preflight import StartupError
from trainhub.up.static_build import build_static_files
from trainhub.up.stop_signals import StopSignals
from trainhub.up.supervisor import ChildProcess, Database, Supervisor, stop_all
from trainhub.up.web_server import address_of

# Under 10 s in total: the worker gives its processes 4 s, the web server its requests 5 s.
CHILDREN_STOP_SECONDS: Final = 7.0
DATABASE_STOP_SECONDS: Final = 2.0
# The web server of a killed `up` exits on its own within this time.
PORT_TIMEOUT_SECONDS: Final = 10.0
WEB_START_SECONDS: Final = 60.0
WEB_FROZEN_SECONDS: Final = 2.0
TICK_SECONDS: Final = 0.5


class Stack:
    """Call the methods in the order of their definition, and always ``stop`` at the end."""

    def __init__(self, signals: StopSignals, report: Callable[[str], None]) -> None:
        """``report`` is called with each message about a failure."""
        self._signals = signals
        self._report = report
        self._directory = DataDirectory(settings.DATA_DIR)
        self._is_held = False
        self._server = (
            None if settings.DATABASE_URL else EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR)
        )
        self._web = child(_("The web server"), "serve", frozen_seconds=WEB_FROZEN_SECONDS)
        # After its lease, its runs belong to whoever takes them: it is not waited for longer.
        worker = ("run_worker", "--name", worker_name(), "--on-exit", "stop")
        lease = settings.WORKER_LEASE_SECONDS
        self._worker = child(_("The worker"), *worker, frozen_seconds=lease)
        self._children = (self._web, self._worker)

    def prepare(self) -> None:
        """Prepare everything the web server needs. Raises StartupError, Interrupted."""
        with self._signals.interrupting():
            for warning in preflight.check_configuration():
                self._report(warning)
            self._directory.acquire()
            self._is_held = True
            was_killed = self._directory.end_orphans()
            timeout_seconds = PORT_TIMEOUT_SECONDS if was_killed else 0
            with preflight.only_web_server(timeout_seconds):
                preflight.check_port(settings.HOST, settings.PORT, timeout_seconds)
            preflight.check_artifact_storage()
            self._prepare_database()
            build_static_files()

    def _prepare_database(self) -> None:
        if self._server is None:
            preflight.check_database()
        else:
            try:
                self._server.start()
            except EmbeddedPostgresError as error:
                raise StartupError(str(error)) from error
        try:
            schema_upgrade.migrate(verbosity=0)
            if not settings.PRODUCTION:
                load_demo(by=local_administrator())
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise StartupError(
                _("The database could not be brought up to date: %(reason)s") % {"reason": reason}
            ) from error
        finally:
            connections.close_all()

    def start(self) -> None:
        """Start the web server and worker; return when the web server answers.

        Raises StartupError, Interrupted.
        """
        with self._signals.interrupting():
            for process in self._children:
                process.start()
            self._record()
            deadline = time.monotonic() + WEB_START_SECONDS
            while not is_serving():
                if (problem := self._web.failure()) is not None:
                    raise StartupError(
                        _("The web server %(problem)s during startup: see the output above.")
                        % {"problem": problem}
                    )
                if time.monotonic() > deadline:
                    raise StartupError(
                        _("The web server did not respond within %(seconds)d s.")
                        % {"seconds": WEB_START_SECONDS}
                    )
                self._signals.wait(0.1)

    def watch(self, parent_pid: int | None) -> None:
        """Keep everything running until a stop is requested or the parent exits."""
        database = [] if self._server is None else [Database(self._server)]
        supervisor = Supervisor(
            [*database, *self._children], report=self._report, started=self._record
        )
        while not self._signals.requested:
            if parent_pid is not None and os.getppid() != parent_pid:
                self._report(_("The parent process %(pid)d has exited.") % {"pid": parent_pid})
                return
            supervisor.tick()
            self._signals.wait(TICK_SECONDS)

    def stop(self) -> None:
        """Stop the children, then the database, and release the data directory. Never raises."""
        if not self._is_held:
            self._directory.release()
            return
        self._record(stopping=True)
        for late in stop_all(
            self._children, CHILDREN_STOP_SECONDS, force=lambda: self._signals.forced
        ):
            self._report(_("%(name)s did not stop in time and was killed.") % {"name": late.name})
        if self._server is not None:
            try:
                self._server.stop(0 if self._signals.forced else DATABASE_STOP_SECONDS)
            except EmbeddedPostgresError as error:
                self._report(str(error))
        self._directory.record([])
        self._directory.release()

    def _record(self, *, stopping: bool = False) -> None:
        pids = [process.pid for process in self._children if process.pid is not None]
        records = [record for pid in pids if (record := ProcessRecord.of(pid)) is not None]
        self._directory.record(records, stopping=stopping)


def child(name: str, *command: str, frozen_seconds: float) -> ChildProcess:
    """A manage.py command that exits on its own if this process is killed.

    Skips the system checks: preflight has run them.
    """
    child = [sys.executable, "-m", "trainhub.up.child_process", str(os.getpid())]
    return ChildProcess(
        name, [*child, *command, "--skip-checks"], settings.BASE_DIR, frozen_seconds
    )


def worker_name() -> str:
    """Stable across restarts, and unique per machine and data directory on a shared database."""
    if not settings.DATABASE_URL:
        return "local"
    place = hashlib.sha256(os.fsencode(settings.DATA_DIR)).hexdigest()[:6]
    return f"{platform.node()}-{place}"


def is_serving() -> bool:
    """Whether the application answers with anything but a server error: /healthz is nginx's."""
    _family, address = address_of(settings.HOST, settings.PORT)
    named = [host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    connection = http.client.HTTPConnection(address, settings.PORT, timeout=2)
    try:
        connection.request("GET", "/health", headers={"Host": (named or ["localhost"])[0]})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
