"""Keeps one thing that many wait for from taking all threads that answer requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from core import sessions
from core.database_errors import DatabaseBusy

PATIENCE_SECONDS: Final = 1.0


@dataclass
class _Queue:
    moved_at: float  # when somebody last got through: monotonic seconds
    inside: int = 0
    present: int = 0  # inside, or waiting to be


class Gate:
    """Lets a share of the threads of a process wait for the same thing, such as a run's row. The
    others wait here while there is progress, and are refused when there is none.

    Open in processes that answer no requests. Never enter it with what others wait for.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}

    @contextmanager
    def entering(self, key: str) -> Iterator[None]:
        """Raises DatabaseBusy."""
        if not sessions.answers_requests():
            yield
            return
        queue = self._enter(key)
        has_moved = False
        try:
            yield
            has_moved = True
        finally:
            self._leave(key, queue, has_moved=has_moved)

    def _enter(self, key: str) -> _Queue:
        limit = max(1, int(settings.WEB_THREADS * self._share))
        with self._changed:
            queue = self._queues.setdefault(key, _Queue(time.monotonic()))
            queue.present += 1
            while queue.inside >= limit:
                left = queue.moved_at + PATIENCE_SECONDS - time.monotonic()
                if left <= 0:
                    self._forget(key, queue)
                    raise DatabaseBusy
                self._changed.wait(left)
            queue.inside += 1
        return queue

    def _leave(self, key: str, queue: _Queue, *, has_moved: bool) -> None:
        with self._changed:
            queue.inside -= 1
            if has_moved:
                queue.moved_at = time.monotonic()
            self._forget(key, queue)
            self._changed.notify_all()

    def _forget(self, key: str, queue: _Queue) -> None:
        queue.present -= 1
        if not queue.present:
            del self._queues[key]
