"""Where the work of a worker's runs is done: in threads, so that slow work of one run, such as
copying a checkpoint of 40 GB, delays no other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from django.db import close_old_connections, connection

from core.database_errors import problem_of

# Each keeps a database connection. As many more are added whenever all of them are slow: a busy
# machine, which is slow for a moment, does not get one for each run at once.
USUAL_THREADS: Final = 16
STUCK_SECONDS: Final = 0.2  # the usual threads are slow if none has begun other work for so long

Work: TypeAlias = Callable[[], None]


class Tasks(Protocol):
    def start(self, key: str, work: Work, *, urgent: bool = False) -> bool:
        """Start ``work``, unless that of the same key is not done: then return False. ``urgent``:
        before all that waits for a thread."""

    def wait(self, seconds: float) -> bool:
        """Wait until all work is done, at most ``seconds``; return whether it is."""

    def raise_error(self) -> None:
        """Raise an exception that work has raised since the last call, if any has: one that is no
        problem of the database before others."""


class InlineTasks:
    """Does the work at once, in the caller's thread and transaction."""

    def start(self, key: str, work: Work, *, urgent: bool = False) -> bool:
        work()
        return True

    def wait(self, seconds: float) -> bool:
        return True

    def raise_error(self) -> None:
        """Its caller has seen it."""


class ThreadedTasks:
    """Does the work in threads, which are started when they are needed: up to ``usual_threads``,
    and up to as many more each time that all of them are slow while work waits.

    They are daemons: work that ``wait`` has given up on does not keep the process alive. Like a
    worker that is killed, it leaves nothing half done, since rows are written in transactions and
    bytes before their rows.
    """

    def __init__(self, usual_threads: int = USUAL_THREADS) -> None:
        self._usual_threads = usual_threads
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Work]] = deque()
        self._begun_at = 0.0  # when a thread last had the choice of work: monotonic seconds
        self._keys: set[str] = set()  # of work that waits or is being done
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._errors: list[BaseException] = []

    def start(self, key: str, work: Work, *, urgent: bool = False) -> bool:
        with self._changed:
            is_new = key not in self._keys
            if is_new:
                if not self._waiting:
                    self._begun_at = time.monotonic()
                self._keys.add(key)
                (self._waiting.appendleft if urgent else self._waiting.append)((key, work))
                self._changed.notify_all()
            self._add_threads()
        return is_new

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._keys:
                self._add_threads()
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, STUCK_SECONDS))
            return True

    def raise_error(self) -> None:
        with self._changed:
            errors, self._errors = self._errors, []
        if errors:
            raise next((error for error in errors if problem_of(error) is None), errors[0])

    def close(self) -> None:
        """End the threads that are idle now; the others as soon as they have done their work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = set() if self._keys else set(self._threads)
        for thread in threads:
            thread.join()

    def _add_threads(self) -> None:
        """Call with the lock held."""
        count = min(len(self._keys), self._usual_threads) - len(self._threads)
        if time.monotonic() - self._begun_at > self._stuck_seconds:
            count = min(len(self._waiting), self._usual_threads)
            self._begun_at = time.monotonic()
        for _number in range(count):
            thread = threading.Thread(target=self._work, name="work of runs", daemon=True)
            self._threads.add(thread)
            thread.start()

    @property
    def _stuck_seconds(self) -> float:
        """The more threads there are, the less likely is it that all of them are slow."""
        return STUCK_SECONDS * max(1.0, len(self._threads) / self._usual_threads)

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                self._do(*task)
        finally:
            connection.close()

    def _next(self) -> tuple[str, Work] | None:
        """The work to do next; None if the thread is to end."""
        with self._changed:
            while not self._waiting:
                if self._closed or len(self._threads) > self._usual_threads:
                    self._threads.discard(threading.current_thread())
                    return None
                self._changed.wait()
            self._begun_at = time.monotonic()
            return self._waiting.popleft()

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
