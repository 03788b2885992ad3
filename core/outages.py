"""Says that something is away in a line now and then, instead of a traceback for every attempt."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

LINE_SECONDS: Final = 60.0  # between two lines of an outage


class Outage:
    """One thing that may be away: it is said when that begins, then at most once a minute with the
    number of attempts, and when it is over. Any number of threads may report."""

    def __init__(self, logger: logging.Logger, failed: str, over: str) -> None:
        """``failed`` and ``over`` begin the lines: "requests are refused", "they are served"."""
        self._logger = logger
        self._failed_text, self._over_text = failed, over
        self._lock = threading.Lock()
        self._since: float | None = None  # monotonic seconds, like the others
        self._said_at = float("-inf")
        self._is_said = False
        self._count = 0  # since the last line

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def failed(self, why: object) -> None:
        """An attempt has failed."""
        now = time.monotonic()
        with self._lock:
            self._count += 1
            if self._since is None:
                self._since = now
            if now < self._said_at + LINE_SECONDS:
                return
            self._said_at, self._is_said = now, True
            count, self._count = self._count, 0
        times = f" ({count} times since the last line)" if count > 1 else ""
        self._logger.warning("%s%s: %s", self._failed_text, times, " ".join(str(why).split()))

    def over(self) -> float:
        """An attempt has succeeded. Returns how long the outage has lasted, 0 if there was none."""
        with self._lock:
            since, self._since = self._since, None
            if since is None:
                return 0.0
            seconds = time.monotonic() - since
            count, is_said = self._count, self._is_said
            if is_said:  # else the next line has the number
                self._count, self._is_said = 0, False
        if is_said:
            text = "%s again after %.0f s (%d more failures)"
            self._logger.warning(text, self._over_text, seconds, count)
        return seconds
