"""A lean HTTP client that uses little CPU, because the servers share the machine.

Connections are persistent and driven by one epoll loop without threads; requests are encoded
before the clock starts; the status of every response is checked. Each connection sends its next
request when it has received the last response (a closed loop).
"""

from __future__ import annotations

import gc
import json
import math
import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from benchmarks.processes import Watched

HOST: Final = "127.0.0.1"
RECEIVE_BYTES: Final = 1 << 18
TIMEOUT_SECONDS: Final = 120


class UnexpectedResponse(Exception):
    """A server returned a status other than 2xx or closed the connection."""


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of an HTTP/1.1 request for a server on this machine."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        + "\r\n"
    )
    return head.encode() + body


class Connection:
    """One persistent connection with at most one request in flight.

    ``quickack``: acknowledge what the server sends immediately (TCP_QUICKACK before each read). A
    server that sends headers and body separately without TCP_NODELAY otherwise waits 40 ms for the
    acknowledgment, and the figure would measure TCP, not the server.
    """

    def __init__(self, port: int, *, quickack: bool = True) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._quickack = quickack
        self._received = b""
        self.sent_at = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes) -> None:
        self.sent_at = time.perf_counter()
        self._socket.sendall(message)

    def receive(self) -> bytes | None:
        """Read what has arrived; return the response body once it is complete, else None."""
        if self._quickack:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        chunk = self._socket.recv(RECEIVE_BYTES)
        if not chunk:
            raise UnexpectedResponse("The server closed the connection.")
        received = self._received = self._received + chunk if self._received else chunk
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        body_at = end + 4
        if len(received) < body_at + _content_length(received, end):
            return None
        self._received = b""
        if not received.startswith(b"HTTP/1.1 2"):
            raise UnexpectedResponse(received[:600].decode(errors="replace"))
        return received[body_at:]

    def exchange(self, message: bytes) -> bytes:
        self.send(message)
        while (body := self.receive()) is None:
            pass
        return body


def _content_length(received: bytes, end: int) -> int:
    head = received[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        raise UnexpectedResponse(f"No Content-Length in the response: {received[:300]!r}")
    return int(head[at + 15 :].split(b"\r\n", 1)[0])


def call(port: int, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
    """Send one request on a separate connection and return the JSON response."""
    connection = Connection(port)
    try:
        body = b"" if content is None else json.dumps(content).encode()
        return json.loads(connection.exchange(request(method, path, body)))
    finally:
        connection.close()


# --- load ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one repetition."""

    seconds: float
    latencies_ms: list[float]  # sorted

    @property
    def rate(self) -> float:
        """Responses per second."""
        return len(self.latencies_ms) / self.seconds

    @property
    def p95_ms(self) -> float:
        return self.latencies_ms[math.ceil(0.95 * len(self.latencies_ms)) - 1]


def drive(
    port: int, feeds: Sequence[Iterator[bytes]], seconds: float, *, quickack: bool = True
) -> Load:
    """Run one connection per feed, for ``seconds`` or until a feed is empty."""
    connections = [Connection(port, quickack=quickack) for _ in feeds]
    sources = {
        connection.fileno(): (connection, feed)
        for connection, feed in zip(connections, feeds, strict=True)
    }
    poll = select.epoll()
    for number in sources:
        poll.register(number, select.EPOLLIN)
    latencies: list[float] = []
    gc.disable()
    try:
        started = now = time.perf_counter()
        deadline = started + seconds
        for connection, feed in sources.values():
            connection.send(next(feed))
        in_flight = len(sources)
        while in_flight:
            for number, _event in poll.poll():
                connection, feed = sources[number]
                if connection.receive() is None:
                    continue
                now = time.perf_counter()
                latencies.append(1000 * (now - connection.sent_at))
                message = next(feed, None) if now < deadline else None
                if message is None:
                    in_flight -= 1
                    deadline = min(deadline, now)
                else:
                    connection.send(message)
    finally:
        gc.enable()
        poll.close()
        for connection in connections:
            connection.close()
    return Load(now - started, sorted(latencies))


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long each load is measured."""

    repetitions: int = 5
    seconds: float = 3.0
    warm_up_seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class Measured:
    """Several repetitions of one load."""

    loads: list[Load]
    responses: int  # including the warm-up
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # by process, without the warm-up

    @property
    def rate(self) -> float:
        return statistics.median(load.rate for load in self.loads)

    @property
    def rates(self) -> list[float]:
        return [load.rate for load in self.loads]

    @property
    def p95_ms(self) -> float:
        return statistics.median(load.p95_ms for load in self.loads)

    @property
    def p95s_ms(self) -> list[float]:
        return [load.p95_ms for load in self.loads]

    @property
    def cpu_per_response(self) -> str:
        """CPU time per response in microseconds, by process."""
        count = sum(len(load.latencies_ms) for load in self.loads)
        return ", ".join(
            f"{who} {1e6 * used / count:,.0f} µs" for who, used in self.cpu_seconds.items()
        )


def measure(
    port: int,
    feeds: Sequence[Iterator[bytes]],
    pace: Pace,
    *,
    quickack: bool = True,
    watched: Watched | None = None,
) -> Measured:
    """Warm up, then repeat the load; requests are generated between repetitions."""
    warm_up = drive(port, feeds, pace.warm_up_seconds, quickack=quickack)
    responses = len(warm_up.latencies_ms)
    count = math.ceil(1.6 * warm_up.rate * pace.seconds / len(feeds)) + 4
    loads: list[Load] = []
    used: Counter[str] = Counter()  # CPU seconds
    for _ in range(pace.repetitions):
        ready = [iter(list(islice(feed, count))) for feed in feeds]
        if watched:
            used.subtract(watched.cpu_seconds())
        loads.append(drive(port, ready, pace.seconds, quickack=quickack))
        if watched:
            used.update(watched.cpu_seconds())
        responses += len(loads[-1].latencies_ms)
    return Measured(loads, responses, dict(used))
