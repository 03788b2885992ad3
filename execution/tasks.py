"""Where the work of a worker's runs is done: in threads, so that slow work of one run, such as
copying a checkpoint of 40 GB, delays no other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from django.db import close_old_connections, connection

# Each keeps a database connection.
MAX_THREADS: Final = 16

Work: TypeAlias = Callable[[], None]


class Tasks(Protocol):
    def start(self, key: str, work: Work) -> bool:
        """Start ``work``, unless that of the same key is not done: then return False."""

    def wait(self, seconds: float) -> bool:
        """Wait until all work is done, at most ``seconds``; return whether it is."""

    def raise_error(self) -> None:
        """Raise the first exception that work has raised since the last call, if any has."""


class InlineTasks:
    """Does the work at once, in the caller's thread and transaction."""

    def start(self, key: str, work: Work) -> bool:
        work()
        return True

    def wait(self, seconds: float) -> bool:
        return True

    def raise_error(self) -> None:
        """Its caller has seen it."""


class ThreadedTasks:
    """Does the work in at most ``max_threads`` threads, which are started when they are needed.

    They are daemons: work that ``wait`` has given up on does not keep the process alive. Like a
    worker that is killed, it leaves nothing half done, since rows are written in transactions and
    bytes before their rows.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._queue: queue.SimpleQueue[tuple[str, Work] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._keys: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, key: str, work: Work) -> bool:
        with self._changed:
            if key in self._keys:
                return False
            self._keys.add(key)
            if len(self._threads) < min(len(self._keys), self._max_threads):
                name = f"runs {len(self._threads) + 1}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put((key, work))
        return True

    def wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._keys, seconds)

    def raise_error(self) -> None:
        with self._changed:
            errors, self._errors = self._errors, []
        if errors:
            raise errors[0]

    def close(self) -> None:
        """End the threads that are idle now; the others as soon as they have done their work."""
        for _thread in self._threads:
            self._queue.put(None)
        if self.wait(0):
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        try:
            while (task := self._queue.get()) is not None:
                self._do(*task)
        finally:
            connection.close()

    def _do(self, key: str, work: Work) -> None:
        failure: BaseException | None = None
        try:
            close_old_connections()
            work()
        except BaseException as error:
            failure = error
        with self._changed:
            if failure is not None:
                self._errors.append(failure)
            self._keys.remove(key)
            self._changed.notify_all()
