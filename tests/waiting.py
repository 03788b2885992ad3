"""Waits for a condition with a deadline, instead of sleeping for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], *, seconds: float = 60.0, every: float = 0.02, or_say: str = ""
) -> T:
    """Return the first truthy result of ``condition``. Fails the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, or_say or f"not within {seconds} s"
        time.sleep(every)
    return result
