"""Write together what several threads of a process bring for the same row.

Writers of one row wait for its lock until the one before them is on disk. Those that arrive in the
meantime are gathered, and the first of them writes for all: one statement and one flush instead of
one for each. Nobody waits for others to arrive: a thread that finds nobody writing writes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from threading import Lock
from typing import Generic, TypeVar

from django.db import Error, InterfaceError, OperationalError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

# These befall everybody who waits: the database is away, or a lock was not given in time.
UNAVAILABLE = (OperationalError, InterfaceError)


class _Turn(Enum):
    """What a waiting thread is woken for."""

    WRITTEN = "its item is written"
    FAILED = "what it would wait for is not to be had"
    ALONE = "the group failed for a reason that may be another member's: it writes its own"
    LEADS = "it writes for all who wait"


class _Member(Generic[Item]):
    def __init__(self, item: Item, size: int) -> None:
        self.item = item
        self.size = size
        self.turn = _Turn.LEADS
        self.error: Error | None = None
        self._asleep = Lock()
        self._asleep.acquire()

    def wait(self) -> None:
        self._asleep.acquire()

    def wake(self, turn: _Turn, error: Error | None = None) -> None:
        self.turn, self.error = turn, error
        self._asleep.release()


class GroupCommit(Generic[Key, Item]):
    """Calls ``write(key, items)`` for items of one key from several threads, one call at a time.

    ``write`` commits, all or nothing, and must be idempotent: after an error, each thread of the
    group calls it with its own item. A group has at most ``limit`` in sum of the items' sizes, or
    one item.
    """

    def __init__(self, write: Callable[[Key, list[Item]], None], *, limit: int) -> None:
        self._write = write
        self._limit = limit
        self._lock = Lock()
        # Who waits for the thread that writes; no entry if none does.
        self._waiting: dict[Key, list[_Member[Item]]] = {}

    def write(self, key: Key, item: Item, *, size: int = 1) -> None:
        """Return when ``item`` is committed; raise what writing it raised."""
        member = _Member(item, size)
        if not self._leads_at_once(key, member):
            member.wait()
        if member.turn is _Turn.LEADS:
            self._lead(key, member)
        if member.turn is _Turn.FAILED and member.error is not None:
            # An exception of its own: this thread's traceback is not another's.
            raise type(member.error)(*member.error.args) from member.error.__cause__
        if member.turn is _Turn.ALONE:
            self._write(key, [item])

    def _leads_at_once(self, key: Key, member: _Member[Item]) -> bool:
        with self._lock:
            if key in self._waiting:
                self._waiting[key].append(member)
                return False
            self._waiting[key] = []
            return True

    def _lead(self, key: Key, leader: _Member[Item]) -> None:
        """Write for those who wait, tell them, and pass the lead on to who has come since."""
        followers = self._followers(key, leader)
        outcome, error = _Turn.ALONE, None
        try:
            self._write(key, [leader.item, *(member.item for member in followers)])
            outcome = _Turn.WRITTEN
        except UNAVAILABLE as unavailable:
            outcome, error = _Turn.FAILED, unavailable
            followers += self._leave_no_one_waiting(key)
            raise
        except Exception:
            if not followers:
                raise
        finally:
            self._pass_on(key)
            for member in followers:
                member.wake(outcome, error)
        leader.turn = outcome

    def _followers(self, key: Key, leader: _Member[Item]) -> list[_Member[Item]]:
        with self._lock:
            waiting, size, count = self._waiting[key], leader.size, 0
            for member in waiting:
                size += member.size
                if size > self._limit:
                    break
                count += 1
            followers, self._waiting[key] = waiting[:count], waiting[count:]
            return followers

    def _leave_no_one_waiting(self, key: Key) -> list[_Member[Item]]:
        with self._lock:
            waiting, self._waiting[key] = self._waiting[key], []
            return waiting

    def _pass_on(self, key: Key) -> None:
        with self._lock:
            waiting = self._waiting[key]
            if waiting:
                waiting.pop(0).wake(_Turn.LEADS)
            else:
                del self._waiting[key]
