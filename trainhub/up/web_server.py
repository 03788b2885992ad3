"""The web server: granian, which runs the WSGI application in threads, behind nginx."""

import gc
import hashlib
import logging
import os
import platform
import resource
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import psutil
from django.conf import settings
from django.utils.translation import gettext as _
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from core import request_counts
from trainhub.front.configuration import Places, write_configuration
from trainhub.front.frozen import FrozenProcesses, beat
from trainhub.front.nginx import Nginx
from trainhub.up.child_process import exit_with_parent
from trainhub.up.supervisor import RestartPolicy, Supervisor

logger = logging.getLogger(__name__)

# How long unfinished requests may take during shutdown, in nginx and then in our processes.
STOP_SECONDS: Final = 5
NGINX_STOP_SECONDS: Final = 3
# Granian's maximum. An idle thread that exits closes its database connection.
IDLE_THREAD_SECONDS: Final = 600
# nginx closes idle connections first: one that we close may just have got a request.
IDLE_CONNECTION_SECONDS: Final = 3600
# What nginx may open to each process; the requests on them queue for its threads.
MAX_CONNECTIONS: Final = 4096
NGINX_RESTARTS: Final = RestartPolicy(first_seconds=0.05, longest_seconds=10)
WATCH_SECONDS: Final = 0.25
STOPPED_POLLS: Final = 2
SILENT_POLLS: Final = 80  # 20 s without a beat, which comes every second
MAX_SOCKET_PATH: Final = 100  # bytes; Linux takes 107, macOS 103


def address_of(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The family and the IP address to listen on, IPv4 first. Raises OSError (no such host)."""
    entries = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, *_rest, address = min(entries, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


def serve() -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError, NginxMissing."""
    directory = runtime_directory()
    with_socket = socket_directory(directory)
    places = Places(directory, with_socket / "app.sock", _listen())
    write_configuration(places)
    places.socket.unlink(missing_ok=True)  # of a killed server
    beats, counts = directory / "beats", directory / "counts"
    for files in (beats, counts):
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir(mode=0o700)
    _allow_open_files()
    try:
        _WebServer(Nginx(places), places.socket, beats).serve(
            # Otherwise the processes of a killed server would go on.
            target_loader=partial(load_application, os.getpid(), beats, counts),
            wrap_loader=False,
        )
    finally:
        if with_socket != directory:
            shutil.rmtree(with_socket, ignore_errors=True)


def runtime_directory() -> Path:
    """Where this server has its socket and nginx its files. Web servers of several hosts may share
    a data directory; on one host, only one can have the port."""
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    directory: Path = settings.DATA_DIR / "web" / f"{settings.PORT}-{host}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def socket_directory(directory: Path) -> Path:
    """``directory``, or another one if the system would refuse a path of that length."""
    if len(os.fsencode(directory / "app.sock")) <= MAX_SOCKET_PATH:
        return directory
    return Path(tempfile.mkdtemp(prefix="trainhub-"))


def _listen() -> str:
    family, address = address_of(settings.HOST, settings.PORT)
    if family == socket.AF_INET6:
        both = " ipv6only=off" if address == "::" else ""
        return f"[{address}]:{settings.PORT}{both}"
    return f"{address}:{settings.PORT}"


def _allow_open_files() -> None:
    """Raise the soft limit, which is 1024 on most systems, to the hard one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has no number for it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _WebServer(MPServer):
    """Granian's server, which also runs nginx and replaces processes that hang."""

    def __init__(self, nginx: Nginx, path: Path, beats: Path) -> None:
        super().__init__(
            target="trainhub.wsgi:application",
            uds=path,
            uds_permissions=0o600,
            interface=Interfaces.WSGI,
            workers=settings.WEB_PROCESSES,
            blocking_threads=settings.WEB_THREADS,
            blocking_threads_idle_timeout=IDLE_THREAD_SECONDS,
            backpressure=MAX_CONNECTIONS,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_CONNECTION_SECONDS * 1000),
            websockets=False,
            log_level=LogLevels.error,
            respawn_failed_workers=True,
            workers_kill_timeout=STOP_SECONDS,
        )
        self.respawned_wrks = _Respawned(self._was_killed)
        self._beats = beats
        self._nginx = nginx
        self._frozen = FrozenProcesses(beats, STOPPED_POLLS, SILENT_POLLS)
        self._stopping = threading.Event()
        self._watch_thread = threading.Thread(target=self._watch, name="web watch", daemon=True)

    def startup(self, *arguments: Any) -> None:
        super().startup(*arguments)  # type: ignore[no-untyped-call]
        self._nginx.start()
        self._watch_thread.start()

    def shutdown(self, exit_code: int = 0) -> None:
        self._stopping.set()
        self._watch_thread.join()
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]

    def _was_killed(self, number: int) -> bool:
        """Whether this process, which has ended, could load the application, as far as is known."""
        process = self.wrks[number].inner
        return process.exitcode == -signal.SIGKILL or (self._beats / str(process.pid)).exists()

    def _watch(self) -> None:
        supervisor = Supervisor([self._nginx], report=logger.error, policy=NGINX_RESTARTS)
        while not self._stopping.wait(WATCH_SECONDS):
            supervisor.tick()
            for process in self._frozen.poll(self._processes()):
                # To granian, two ends within seconds are a crash loop, after which it gives up.
                self.respawned_wrks.clear()
                logger.error(_("Process %(pid)d hung and was replaced.") % {"pid": process.pid})
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        # An nginx that this thread has started would end with it, at once.
        self._nginx.stop(NGINX_STOP_SECONDS)

    def _processes(self) -> Iterable[psutil.Process]:
        yield from self._nginx.processes()
        for worker in list(self.wrks):
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(worker.inner.pid)


class _Respawned(dict[int, float]):
    """When each process was last replaced, by its number. Granian ends the server if one dies soon
    after, as it does when the application cannot be loaded; being killed is no such reason."""

    def __init__(self, was_killed: Callable[[int], bool]) -> None:
        super().__init__()
        self._was_killed = was_killed

    def get(self, number: int, default: Any = None) -> Any:
        return default if self._was_killed(number) else super().get(number, default)


def load_application(parent_pid: int, beats: Path, counts: Path) -> Callable[..., Any]:
    """Load the application; runs in each of the server's processes."""
    exit_with_parent(parent_pid, grace_seconds=STOP_SECONDS)
    from trainhub.wsgi import application

    import_module(settings.ROOT_URLCONF)  # with all views, else by the first request
    # What is loaded stays: collecting garbage need not look at it again and again.
    gc.collect()
    gc.freeze()
    beat(beats / str(os.getpid()))
    request_counts.publish(counts)
    return partial(_from_nginx, application)


def _from_nginx(
    application: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]
) -> Any:
    """The peer of the socket is nginx, which says in X-Real-IP who its own peer is."""
    environ["REMOTE_ADDR"] = environ["HTTP_X_REAL_IP"]
    response = application(environ, start_response)
    if isinstance(response, list) or response.streaming:
        return response
    response.close()
    return [response.content]  # granian sends a list at once, and any other iterable in steps
