"""The web server: granian, configured from the settings, serving the WSGI application."""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django.conf import settings
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server

from trainhub.up.child_process import exit_with_parent

# How long unfinished requests may take during shutdown.
STOP_SECONDS: Final = 5
# Granian's maximum. An idle thread that exits closes its database connection.
IDLE_THREAD_SECONDS: Final = 600


def address_of(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The family and the IP address to listen on, IPv4 first. Raises OSError (no such host)."""
    entries = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, *_rest, address = min(entries, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    _family, address = address_of(settings.HOST, settings.PORT)
    server = Server(
        target="trainhub.wsgi:application",
        address=address,
        port=settings.PORT,
        interface=Interfaces.WSGI,
        workers=settings.WEB_PROCESSES,
        blocking_threads=settings.WEB_THREADS,
        blocking_threads_idle_timeout=IDLE_THREAD_SECONDS,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
    )
    # Otherwise the processes of a killed server would keep its port.
    server.serve(target_loader=partial(load_application, os.getpid()), wrap_loader=False)


def load_application(parent_pid: int) -> Callable[..., Any]:
    """Load the application; runs in each of the server's processes."""
    exit_with_parent(parent_pid, grace_seconds=STOP_SECONDS)
    from trainhub.wsgi import application

    return application
