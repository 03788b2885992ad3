"""Time limits for Ray's own client, which has none.

A call is made in a thread of its own. Whoever waits for it gives it up after SECONDS; then its
thread begins no further request, and the one that it waits for ends by its own limit. So calls that
hang take nothing from later ones, are not carried out late, and keep no process from exiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any, Final, TypeVar

SECONDS: Final = 30.0  # of a call, with all of its requests
CALLS: Final = 8  # at once
Answer = TypeVar("Answer")


class Calls:
    """Shared by threads."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(CALLS)

    def call(self, what: Callable[[float], Answer]) -> Answer:
        """``what`` gets its deadline, in monotonic seconds. Raises TimeoutError, and whatever it
        raises."""
        if not self._free.acquire(timeout=SECONDS):
            raise TimeoutError(f"{SECONDS:.0f} s")
        try:
            return _within(SECONDS, what)
        finally:
            self._free.release()


def _within(seconds: float, what: Callable[[float], Answer]) -> Answer:
    future: Future[Answer] = Future()
    deadline = time.monotonic() + seconds

    def work() -> None:
        try:
            future.set_result(what(deadline))
        except BaseException as error:  # for whoever waits
            future.set_exception(error)

    threading.Thread(target=work, name="ray", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        if future.done():  # its own
            raise
        raise TimeoutError(f"{seconds:.0f} s") from None


class TimeLimited:
    """Before a class of Ray's clients: their requests get what is left until the deadline."""

    def __init__(self, deadline: float, *arguments: Any, **options: Any) -> None:
        self._deadline = deadline
        super().__init__(*arguments, **options)

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{SECONDS:.0f} s")
        options["timeout"] = min(left, options.get("timeout") or left)
        return super()._do_request(method, endpoint, **options)  # type: ignore[misc]


@cache
def limited(client: type) -> Callable[..., Any]:
    """The class of clients whose first argument is their deadline."""
    return type(f"Limited{client.__name__}", (TimeLimited, client), {})
