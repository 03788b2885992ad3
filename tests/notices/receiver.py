"""A receiver of webhooks on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"ok")

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.received.append(Received(request.path, headers, body))
        status, fields, content = self.answer
        request.send_response(status)
        for name, text in fields.items():
            request.send_header(name, text)
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def receiver() -> Iterator[tuple[Receiver, str]]:
    it = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            it.handle(self)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield it, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
