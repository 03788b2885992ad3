"""Which attempts have written nothing since they were read: of hundreds, most at any moment.

Kept in memory only to spare work: whoever knows nothing reads again.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Final, TypeAlias

from execution.executors.attempt import REQUESTS, Attempt

# After the last change: by then, files that were being written count as whole, and progress bars as
# still. Longer than the limits in found_checkpoint.py and text_lines.py.
QUIET_SECONDS: Final = 15.0

Signature: TypeAlias = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class _Reading:
    signature: Signature
    since: float  # when the signature was first seen: monotonic seconds
    read_at: float  # when all of it was last read


class QuietAttempts:
    """Shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[Attempt, _Reading] = {}

    def is_read(self, attempt: Attempt, signature: Signature) -> bool:
        """Whether all that the attempt has written was read, and has settled by then."""
        with self._lock:
            reading = self._readings.get(attempt)
        if reading is None or reading.signature != signature:
            return False
        return reading.read_at - reading.since >= QUIET_SECONDS

    def note(self, attempt: Attempt, signature: Signature) -> None:
        """All of it was read that was there when ``signature`` was taken."""
        now = time.monotonic()
        with self._lock:
            before = self._readings.get(attempt)
            same = before is not None and before.signature == signature
            since = before.since if before is not None and same else now
            self._readings[attempt] = _Reading(signature, since, now)

    def forget(self, attempt: Attempt) -> None:
        with self._lock:
            self._readings.pop(attempt, None)


def signature_of(attempt: Attempt) -> Signature:
    """Changes with whatever the attempt's processes write."""
    found = []
    for folder, _folders, names in os.walk(attempt.directory):
        for name in names:
            if name in REQUESTS:
                continue
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            found.append((path, status.st_size, status.st_mtime_ns))
    return frozenset(found)
