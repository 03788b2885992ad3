"""Database, web server and worker as one: what `manage.py up` prepares, starts, watches, stops."""

import hashlib
import http.client
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.utils.translation import gettext as _

from accounts.open_mode import local_administrator
from trainhub import startup
from trainhub.data_directory import DataDirectory, ProcessRecord
from trainhub.demo import load_demo
from trainhub.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from trainhub.startup import CannotStart
from trainhub.static_build import build_static_files
from trainhub.stop_signals import StopSignals
from trainhub.supervisor import ChildProcess, Database, Supervisor, stop_all
from trainhub.web_server import address_of

# Together under 10 s: the worker gives processes 4 s, the web server requests 5.
CHILDREN_STOP_SECONDS: Final = 7.0
DATABASE_STOP_SECONDS: Final = 2.0
# The web server of an `up` that was killed leaves by itself within this.
PORT_PATIENCE_SECONDS: Final = 10.0
WEB_START_SECONDS: Final = 60.0
TICK_SECONDS: Final = 0.5


class ControlRoom:
    """Use its methods in their order; whatever happens, ``stop`` at the end."""

    def __init__(self, signals: StopSignals, say: Callable[[str], None]) -> None:
        """``say`` gets each sentence about what ends unasked."""
        self._signals = signals
        self._say = say
        self._directory = DataDirectory(settings.DATA_DIR)
        self._is_held = False
        self._server = (
            None if settings.DATABASE_URL else EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR)
        )
        self._web = child(_("The web server"), "serve")
        worker = ("run_worker", "--name", worker_name(), "--on-exit", "stop")
        self._worker = child(_("The worker"), *worker)
        self._children = (self._web, self._worker)

    def prepare(self) -> None:
        """Everything up to where the web server can start. Raises CannotStart, Interrupted."""
        with self._signals.interrupting():
            startup.check_configuration()
            self._directory.acquire()
            self._is_held = True
            was_killed = self._directory.end_orphans()
            patience_seconds = PORT_PATIENCE_SECONDS if was_killed else 0
            startup.check_port(settings.HOST, settings.PORT, patience_seconds)
            startup.check_artifact_storage()
            self._prepare_database()
            build_static_files()

    def _prepare_database(self) -> None:
        if self._server is None:
            startup.check_database()
        else:
            try:
                self._server.start()
            except EmbeddedPostgresError as error:
                raise CannotStart(str(error)) from error
        try:
            call_command("migrate", interactive=False, verbosity=0)
            if not settings.PRODUCTION:
                load_demo(by=local_administrator())
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CannotStart(
                _("The database could not be brought up to date: %(reason)s") % {"reason": reason}
            ) from error
        finally:
            connections.close_all()

    def start(self) -> None:
        """Start web server and worker; return when the web server answers.

        Raises CannotStart, Interrupted.
        """
        with self._signals.interrupting():
            for process in self._children:
                process.start()
            self._record()
            deadline = time.monotonic() + WEB_START_SECONDS
            while not is_serving():
                if (problem := self._web.failure()) is not None:
                    raise CannotStart(
                        _("The web server %(problem)s before it could serve: see above.")
                        % {"problem": problem}
                    )
                if time.monotonic() > deadline:
                    raise CannotStart(
                        _("The web server does not answer after %(seconds)d s.")
                        % {"seconds": WEB_START_SECONDS}
                    )
                self._signals.wait(0.1)

    def watch(self, parent_pid: int | None) -> None:
        """Keep all of it running until told to stop, or until the parent has ended.

        Raises GaveUp.
        """
        database = [] if self._server is None else [Database(self._server)]
        supervisor = Supervisor([*database, *self._children], say=self._say, started=self._record)
        while not self._signals.requested:
            if parent_pid is not None and os.getppid() != parent_pid:
                self._say(
                    _("Process %(pid)d, which started this, has ended.") % {"pid": parent_pid}
                )
                return
            supervisor.tick()
            self._signals.wait(TICK_SECONDS)

    def stop(self) -> None:
        """End children, then the database; let go of the data directory. Never raises."""
        if not self._is_held:
            self._directory.release()
            return
        self._record(stopping=True)
        for late in stop_all(
            self._children, CHILDREN_STOP_SECONDS, hurry=lambda: self._signals.insisted
        ):
            self._say(_("%(name)s did not end in time and was killed.") % {"name": late.name})
        if self._server is not None:
            try:
                self._server.stop(0 if self._signals.insisted else DATABASE_STOP_SECONDS)
            except EmbeddedPostgresError as error:
                self._say(str(error))
        self._directory.record([])
        self._directory.release()

    def _record(self, *, stopping: bool = False) -> None:
        pids = [process.pid for process in self._children if process.pid is not None]
        records = [record for pid in pids if (record := ProcessRecord.of(pid)) is not None]
        self._directory.record(records, stopping=stopping)


def child(name: str, *command: str) -> ChildProcess:
    """A manage.py command that leaves by itself should this process be killed.

    System checks have been made.
    """
    attached = [sys.executable, "-m", "trainhub.attached", str(os.getpid())]
    return ChildProcess(name, [*attached, *command, "--skip-checks"], settings.BASE_DIR)


def worker_name() -> str:
    """Stable across restarts, and not another machine's or data directory's on one database."""
    if not settings.DATABASE_URL:
        return "local"
    place = hashlib.sha256(os.fsencode(settings.DATA_DIR)).hexdigest()[:6]
    return f"{platform.node()}-{place}"


def is_serving() -> bool:
    """Whether the web server answers; a refusal is an answer too."""
    _family, address = address_of(settings.HOST, settings.PORT)
    named = [host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    connection = http.client.HTTPConnection(address, settings.PORT, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": (named or ["localhost"])[0]})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
