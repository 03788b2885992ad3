"""nginx in front of a server whose answers the tests decide."""

import http.client
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.up_process import free_port, wait_until
from trainhub.front.configuration import Places, write_configuration
from trainhub.front.nginx import Nginx


@dataclass
class Backend:
    """A web server on a Unix socket. It answers what it has got, or waits, or breaks off."""

    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    breaks_off: int = 0  # how many of the next requests
    signed_in: int = 204
    content_type: str = "text/plain"
    body: bytes = b"ok"

    def paths(self) -> list[str]:
        return [path for _method, path, _headers, _body in self.requests]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(backend: Backend) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            backend.requests.append((self.command, self.path, dict(self.headers), body))
            if self.path == "/signed-in":
                self.send_response(backend.signed_in)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            backend.go_on.wait(30)
            if backend.breaks_off > 0:
                backend.breaks_off -= 1
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(200)
            self.send_header("Content-Type", backend.content_type)
            self.send_header("Content-Length", str(len(backend.body)))
            self.send_header("ETag", '"of-the-body"')
            self.end_headers()
            self.wfile.write(backend.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def address_string(self) -> str:
            return "nginx"

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@dataclass
class Front:
    """A running nginx and what is behind it."""

    port: int
    backend: Backend
    nginx: Nginx
    places: Places

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.call("GET", path, **headers)

    def accepts(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def running() -> Iterator[Front]:
    with running_front() as front:
        yield front


@contextmanager
def running_front() -> Iterator[Front]:
    """nginx by the settings."""
    backend = Backend()
    with tempfile.TemporaryDirectory(prefix="front-") as folder:
        at = Path(folder) / 'a "$c b\\; {数据}'  # as paths may be
        at.mkdir()
        places = Places(at / "web", at / "app.sock", f"127.0.0.1:{free_port()}")
        server = _Server(str(places.socket), _handler(backend))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_configuration(places)
        nginx = Nginx(places)
        nginx.start()
        front = Front(int(places.listen.rpartition(":")[2]), backend, nginx, places)
        wait_until(front.accepts, 20, "nginx listens")
        try:
            yield front
        finally:
            backend.go_on.set()
            nginx.stop(2)
            server.shutdown()
            server.server_close()


@pytest.fixture
def front(running: Front) -> Front:
    """With a backend that answers at once."""
    running.backend.requests.clear()
    running.backend.breaks_off = 0
    running.backend.signed_in = 204
    running.backend.content_type, running.backend.body = "text/plain", b"ok"
    running.backend.go_on.set()
    return running
