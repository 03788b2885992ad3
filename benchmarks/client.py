"""A lean HTTP client: as little of the machine as can be, since the servers share it.

Connections are kept open and driven by one epoll loop without threads; requests are bytes made
ready before the clock starts; every answer's status is checked. Each connection sends its next
request when the last is answered (a closed loop).
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


class UnexpectedAnswer(Exception):
    """A server said something else than 2xx, or hung up."""


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """The bytes of an HTTP/1.1 request for a server on this machine."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One kept-alive connection with at most one request under way.

    ``quickack``: acknowledge at once what the server sends (TCP_QUICKACK before each read). A
    server that sends head and body apart without TCP_NODELAY otherwise waits 40 ms for that, and
    the figure would be one of TCP, not of the server.
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
        """Read what has come: the answer's body once it is whole, until then None."""
        if self._quickack:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        chunk = self._socket.recv(RECEIVE_BYTES)
        if not chunk:
            raise UnexpectedAnswer("The server hung up.")
        received = self._received = self._received + chunk if self._received else chunk
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        body_at = end + 4
        if len(received) < body_at + _content_length(received, end):
            return None
        self._received = b""
        if not received.startswith(b"HTTP/1.1 2"):
            raise UnexpectedAnswer(received[:600].decode(errors="replace"))
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
        raise UnexpectedAnswer(f"An answer without a length: {received[:300]!r}")
    return int(head[at + 15 :].split(b"\r\n", 1)[0])


def call(port: int, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
    """One request on a connection of its own; the JSON that comes back."""
    connection = Connection(port)
    try:
        body = b"" if content is None else json.dumps(content).encode()
        return json.loads(connection.exchange(request(method, path, body)))
    finally:
        connection.close()


# --- load ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What one repetition gave."""

    seconds: float
    latencies_ms: list[float]  # sorted

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_ms) / self.seconds

    @property
    def p95_ms(self) -> float:
        return self.latencies_ms[math.ceil(0.95 * len(self.latencies_ms)) - 1]


def drive(
    port: int, feeds: Sequence[Iterator[bytes]], seconds: float, *, quickack: bool = True
) -> Load:
    """One connection a feed, for so long or until a feed is empty."""
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
        under_way = len(sources)
        while under_way:
            for number, _event in poll.poll():
                connection, feed = sources[number]
                if connection.receive() is None:
                    continue
                now = time.perf_counter()
                latencies.append(1000 * (now - connection.sent_at))
                message = next(feed, None) if now < deadline else None
                if message is None:
                    under_way -= 1
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
    """How often and for how long everything is measured."""

    repetitions: int = 5
    seconds: float = 3.0
    warm_up_seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class Measured:
    """Several repetitions of one load."""

    loads: list[Load]
    answers: int  # of the warm-up too
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # who used it, without the warm-up

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
    def cpu_per_answer(self) -> str:
        """Who spent how many microseconds of a core on one answer."""
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
    """A warm-up, then repetitions; requests are taken from their feed, and made, between them."""
    warm_up = drive(port, feeds, pace.warm_up_seconds, quickack=quickack)
    answers = len(warm_up.latencies_ms)
    count = math.ceil(1.6 * warm_up.rate * pace.seconds / len(feeds)) + 4
    loads: list[Load] = []
    used: Counter[str] = Counter()  # seconds of a core
    for _ in range(pace.repetitions):
        ready = [iter(list(islice(feed, count))) for feed in feeds]
        if watched:
            used.subtract(watched.cpu_seconds())
        loads.append(drive(port, ready, pace.seconds, quickack=quickack))
        if watched:
            used.update(watched.cpu_seconds())
        answers += len(loads[-1].latencies_ms)
    return Measured(loads, answers, dict(used))
