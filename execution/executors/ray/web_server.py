"""Whether launchers could report: what a worker knows of TrainHub's own web server."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Final

from django.conf import settings

from core.database import current_time
from execution.models import MirroredNode

PROBE_SECONDS: Final = 3.0
GAP_SECONDS: Final = 10.0  # between two questions: nothing is known of a longer one
HEARD_SECONDS: Final = 5.0  # launchers report about once a second


class WebServer:
    """Since when the web server has been answering, as far as this process knows.

    It answers if launchers have just reported, of whichever run, or if a probe reaches it. A probe
    may not: the public URL may be one that only nodes reach."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._asked_at = float("-inf")

    def answers_for(self) -> float | None:
        """Seconds, from the first question on; None if it does not answer, or cannot be asked."""
        with self._lock:
            now = time.monotonic()
            if now - self._asked_at > 1.0:
                was_long_ago = now - self._asked_at > GAP_SECONDS
                if not (_is_heard() or _is_up()):
                    self._since = None
                elif self._since is None or was_long_ago:
                    self._since = now
                self._asked_at = time.monotonic()
            return None if self._since is None else now - self._since


def _is_heard() -> bool:
    since = current_time() - timedelta(seconds=HEARD_SECONDS)
    return MirroredNode.objects.filter(seen_at__gte=since).exists()


def _is_up() -> bool:
    # Nothing is sent and nothing is believed but that there is an answer: nodes may know an
    # authority that this host does not.
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        address = f"{settings.PUBLIC_URL}/healthz"
        with urllib.request.urlopen(  # noqa: S310
            address, timeout=PROBE_SECONDS, context=unverified
        ):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500  # an answer, also if it does not accept this host's name
    except OSError:
        return False
