"""Threads that use TrainHub while it breaks: bystanders that read, reporters that write."""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.up_process import DIRECT

TIMEOUT_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.2


def call(url: str, content: Any = None) -> tuple[int, bytes]:
    """Status and body; status 0 if there was no answer."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with DIRECT.open(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


@dataclass
class Notes:
    """What a bystander noticed during one fault."""

    answers: int = 0
    slowest: float = 0.0  # seconds until an answer, of whatever status
    refused: int = 0  # 429, 503 and 507
    failed: int = 0  # no answer, or any other error
    away_since: float | None = None
    longest_away: float = 0.0  # seconds without a 200

    def note(self, status: int, started: float, now: float) -> None:
        self.answers += 1
        self.slowest = max(self.slowest, now - started)
        if status == 200:
            self.end(now)
            self.away_since = None
            return
        self.away_since = started if self.away_since is None else self.away_since
        if status in {429, 503, 507}:
            self.refused += 1
        else:
            self.failed += 1

    def end(self, now: float) -> None:
        if self.away_since is not None:
            self.longest_away = max(self.longest_away, now - self.away_since)


class Witness(threading.Thread):
    """Repeats ``act`` until it is told to end."""

    def __init__(self, name: str, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self._pause = pause
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._pause):
            self.act()

    def act(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self._ended.set()
        self.join()


class Bystander(Witness):
    """Reads one URL again and again."""

    def __init__(self, name: str, url: str, pause: float) -> None:
        super().__init__(name, pause)
        self._url = url
        self._lock = threading.Lock()
        self._notes = Notes()

    def act(self) -> None:
        started = time.monotonic()
        status, _body = call(self._url)
        with self._lock:
            self._notes.note(status, started, time.monotonic())

    def take_notes(self) -> Notes:
        """Those since the last call."""
        with self._lock:
            notes, self._notes = self._notes, Notes()
        notes.end(time.monotonic())
        return notes


class Reporter(Witness):
    """Sends numbered reports, each until it is acknowledged, and remembers which were."""

    def __init__(self, name: str, url: str, pause: float, content: Callable[[int], Any]) -> None:
        super().__init__(name, pause)
        self._url = url
        self._content = content
        self._numbers = itertools.count()
        self.acknowledged: list[int] = []
        self.refusals: list[tuple[int, bytes]] = []  # other than 429, 503, 507 and no answer

    def act(self) -> None:
        number = next(self._numbers)
        content = self._content(number)
        while not self._ended.is_set():
            status, body = call(self._url, content)
            if status in {200, 201}:
                self.acknowledged.append(number)
                return
            if status not in {0, 429, 503, 507}:
                self.refusals.append((status, body))
            self._ended.wait(RETRY_SECONDS)


@dataclass
class Witnesses:
    health: Bystander
    reads: list[Bystander]
    reporters: list[Reporter] = field(default_factory=list)

    @property
    def all(self) -> list[Witness]:
        return [self.health, *self.reads, *self.reporters]

    def start(self) -> None:
        for witness in self.all:
            witness.start()

    def end(self) -> None:
        for witness in self.all:
            witness.end()
