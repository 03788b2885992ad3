"""Whether launchers could report: what a worker knows of TrainHub's own web server."""

from __future__ import annotations

import threading
import time
import urllib.request
from typing import Final

from django.conf import settings

PROBE_SECONDS: Final = 3.0
GAP_SECONDS: Final = 10.0  # between two questions: nothing is known of a longer one


class WebServer:
    """Whether launchers could report: since when TrainHub's own web server has been answering, as
    far as this process knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._probed_at = float("-inf")

    def answers_for(self) -> float:
        """Seconds; 0.0 if it does not answer."""
        with self._lock:
            now = time.monotonic()
            if now - self._probed_at > 1.0:
                was_long_ago = now - self._probed_at > GAP_SECONDS
                self._probed_at = now
                if not _is_up():
                    self._since = None
                elif self._since is None or was_long_ago:
                    self._since = now
            return 0.0 if self._since is None else now - self._since


def _is_up() -> bool:
    try:
        address = f"{settings.PUBLIC_URL}/healthz"
        with urllib.request.urlopen(address, timeout=PROBE_SECONDS):  # noqa: S310
            return True
    except OSError:
        return False
