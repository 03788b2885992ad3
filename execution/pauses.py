"""Growing pauses before what has failed is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from core.messages import Text

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 60.0


@dataclass
class _Failures:
    count: int
    reason: Text
    retry_at: float  # monotonic seconds


class Pauses:
    """The pauses of several keys, in memory."""

    def __init__(self, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest_seconds = longest_seconds
        self._failures: dict[str, _Failures] = {}

    def is_paused(self, key: str) -> bool:
        return self.seconds_left(key) > 0

    def seconds_left(self, key: str) -> float:
        failures = self._failures.get(key)
        return 0.0 if failures is None else max(0.0, failures.retry_at - time.monotonic())

    def failed(self, key: str, reason: Text) -> bool:
        """Begin the next pause; True if the reason is a new one."""
        before = self._failures.get(key)
        count = 1 if before is None else before.count + 1
        seconds = min(self._longest_seconds, FIRST_SECONDS * 2 ** min(count - 1, 16))
        self._failures[key] = _Failures(count, reason, time.monotonic() + seconds)
        return before is None or before.reason != reason

    def succeeded(self, key: str) -> Text | None:
        """Forget the failures; return the reason of the last one, None if there was none."""
        failures = self._failures.pop(key, None)
        return None if failures is None else failures.reason
