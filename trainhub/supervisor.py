"""Keeps services running: starts them, starts again what ends unasked, stops them in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from django.utils.translation import gettext as _

from trainhub.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

POLL_SECONDS: Final = 0.05
# A restart of the database may hold up the loop, and with it an order to stop, for so long.
DATABASE_RESTART_SECONDS: Final = 2.0


class Service(Protocol):
    """Something that is to run all the time."""

    name: str

    def start(self) -> None:
        """Start it; it may fail later, which is told by ``failure``."""

    def failure(self) -> str | None:
        """None while it runs, else how it ended, to go after its name."""


class GaveUp(Exception):
    """A service ends again and again; the message says which and how."""


class ChildProcess:
    """A command, in a session of its own: a terminal's Ctrl-C is for the parent alone."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self._command = command
        self._directory = directory
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

    def failure(self) -> str | None:
        if self._process is None:
            return _("has not been started")
        code = self._process.poll()
        if code is None:
            return None
        self.kill()  # what it has left: a dead web server's processes hold on to the port
        if code < 0:
            return _("was killed by %(signal)s") % {"signal": signal.Signals(-code).name}
        return _("ended with exit code %(code)d") % {"code": code}

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL for the process and those it leads."""
        if self._process is None or self._group_ended:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._group_ended = True  # the number may name another group from here on


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
            self._problem = _("did not start: %(reason)s") % {"reason": str(error).rstrip(".")}

    def failure(self) -> str | None:
        if self._problem is not None or self._server.is_running:
            return self._problem
        return _("has ended unasked")


@dataclass(frozen=True)
class RestartPolicy:
    """How long to wait before each restart, and when to give up."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    # A service that has run for so long has recovered: its earlier ends are forgotten.
    recovered_seconds: float = 60.0
    # More ends in a row than this, and starting it again is no use (some two minutes).
    limit: int = 8

    def delay(self, failures: int) -> float:
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (failures - 1))


@dataclass
class _Watch:
    service: Service
    failures: int = 0
    started_at: float = 0.0
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Watches services; ``started`` is called after each restart, ``say`` with each sentence."""

    services: Sequence[Service]
    say: Callable[[str], None]
    started: Callable[[], None] = lambda: None
    policy: RestartPolicy = field(default_factory=RestartPolicy)

    def __post_init__(self) -> None:
        now = time.monotonic()
        self._watches = [_Watch(service, started_at=now) for service in self.services]

    def tick(self) -> None:
        """Look at every service once, in their order. Raises GaveUp."""
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
        words = {"name": watch.service.name, "problem": problem, "times": watch.failures}
        if watch.failures > self.policy.limit:
            raise GaveUp(_("%(name)s %(problem)s, %(times)d times in a row.") % words)
        delay = self.policy.delay(watch.failures)
        watch.restart_at = now + delay
        words["seconds"] = f"{delay:g}"
        self.say(_("%(name)s %(problem)s; starting it again in %(seconds)s s.") % words)


def stop_all(
    children: Sequence[ChildProcess], seconds: float, hurry: Callable[[], bool] = lambda: False
) -> list[ChildProcess]:
    """Ask all to end at once, wait, and kill what has not ended within ``seconds``.

    ``hurry`` ends the waiting when it becomes true. Returns those that had to be killed.
    """
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not hurry():
        if all(child.has_ended for child in children):
            break
        time.sleep(POLL_SECONDS)
    late = [child for child in children if not child.has_ended]
    for child in children:
        child.kill()
    return late
