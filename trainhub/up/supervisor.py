"""Keeps services running: restarts those that exit unexpectedly, and stops child processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import psutil
from django.utils.translation import gettext as _

from trainhub.up.embedded_postgres import EmbeddedPostgres
from trainhub.up.postgres_errors import EmbeddedPostgresError

POLL_SECONDS: Final = 0.05
# How long a database restart may block the loop, and thus delay a stop request.
DATABASE_RESTART_SECONDS: Final = 2.0


class Service(Protocol):
    """Something that should run all the time."""

    name: str

    def start(self) -> None:
        """Start it; ``failure`` reports errors."""

    def failure(self) -> str | None:
        """None while it runs, else how it failed, phrased to follow its name."""


class ChildProcess:
    """A command in its own session, so that only the parent receives the terminal's Ctrl-C.

    ``frozen_seconds``: how long it may be stopped by a signal (SIGSTOP) before it is replaced.
    """

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, frozen_seconds: float
    ) -> None:
        self.name = name
        self._command = command
        self._directory = directory
        self._frozen_seconds = frozen_seconds
        self._stopped_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._group_ended = True

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._group_ended = False
        self._stopped_at = None

    def failure(self) -> str | None:
        if self._process is None:
            return _("has not been started")
        code = self._process.poll()
        if code is None:
            return self._frozen(self._process.pid)
        self.kill()  # its group: the forks of a dead web server would keep the port
        if code < 0:
            return _("was killed by %(signal)s") % {"signal": signal.Signals(-code).name}
        return _("exited with code %(code)d") % {"code": code}

    def _frozen(self, pid: int) -> str | None:
        """Kill the group if it has been stopped for too long."""
        try:
            is_stopped = psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return None  # just ended: the next poll says how
        if not is_stopped:
            self._stopped_at = None
            return None
        now = time.monotonic()
        self._stopped_at = now if self._stopped_at is None else self._stopped_at
        if now - self._stopped_at < self._frozen_seconds:
            return None
        self.kill()
        return _("was frozen for %(seconds)g s") % {"seconds": self._frozen_seconds}

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Send SIGKILL to the process group."""
        if self._process is None or self._group_ended:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._group_ended = True  # from now on, the system may reuse the group id


class Database:
    """The embedded PostgreSQL as a service."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.name = _("The database")
        self._server = server
        self._problem: str | None = None

    def start(self) -> None:
        try:
            self._server.start(timeout_seconds=DATABASE_RESTART_SECONDS)
            self._problem = None
        except EmbeddedPostgresError as error:
            self._problem = _("failed to start: %(reason)s") % {"reason": str(error).rstrip(".")}

    def failure(self) -> str | None:
        if self._problem is not None or self._server.is_running:
            return self._problem
        return _("stopped unexpectedly")


@dataclass(frozen=True)
class RestartPolicy:
    """How long to wait before each restart."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    # After running this long, a service has recovered and its failure count is reset.
    recovered_seconds: float = 60.0

    def delay(self, failures: int) -> float:
        doublings = min(failures - 1, 30)  # 2.0 ** 1024 overflows
        return min(self.longest_seconds, self.first_seconds * 2.0**doublings)


@dataclass
class _Watch:
    service: Service
    failures: int = 0
    started_at: float = 0.0
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Restarts failed services, however often: what they need may come back by itself.

    Calls ``started`` after each restart, ``report`` with messages.
    """

    services: Sequence[Service]
    report: Callable[[str], None]
    started: Callable[[], None] = lambda: None
    policy: RestartPolicy = field(default_factory=RestartPolicy)

    def __post_init__(self) -> None:
        now = time.monotonic()
        self._watches = [_Watch(service, started_at=now) for service in self.services]

    def tick(self) -> None:
        """Check every service once, in order."""
        for watch in self._watches:
            now = time.monotonic()
            if watch.restart_at is not None:
                if now >= watch.restart_at:
                    self._restart(watch)
            elif (problem := watch.service.failure()) is not None:
                self._note_failure(watch, problem, now)

    def _restart(self, watch: _Watch) -> None:
        watch.restart_at = None
        watch.started_at = time.monotonic()
        watch.service.start()
        self.started()

    def _note_failure(self, watch: _Watch, problem: str, now: float) -> None:
        if now - watch.started_at > self.policy.recovered_seconds:
            watch.failures = 0
        watch.failures += 1
        delay = self.policy.delay(watch.failures)
        watch.restart_at = now + delay
        params = {"name": watch.service.name, "problem": problem, "seconds": f"{delay:g}"}
        self.report(_("%(name)s %(problem)s; restarting in %(seconds)s s.") % params)


def stop_all(
    children: Sequence[ChildProcess], seconds: float, force: Callable[[], bool] = lambda: False
) -> list[ChildProcess]:
    """Terminate all children in parallel and kill those still running after ``seconds``.

    Stops waiting as soon as ``force`` returns true. Returns the children that had to be killed.
    """
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not force():
        if all(child.has_ended for child in children):
            break
        time.sleep(POLL_SECONDS)
    late = [child for child in children if not child.has_ended]
    for child in children:
        child.kill()
    return late
