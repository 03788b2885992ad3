"""Hashes passwords one at a time in each process, on a thread that yields to all requests.

A hash is a third of a second of a core's time. Of several at once, or of the priority of requests,
every page would notice.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from accounts.sign_in.limits import TooManyAtOnce

NICENESS: Final = (
    10  # https://man7.org/linux/man-pages/man7/sched.7.html: a tenth of a request's share
)


class PatientPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's own, of the same algorithm and iterations: hashes are read and written as by it."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Raises TooManyAtOnce where half of a process's threads wait for their turn: the others
        answer what needs no password."""
        if not _turns.acquire(blocking=False):
            raise TooManyAtOnce
        try:
            return _thread.submit(super().encode, password, salt, iterations).result()
        finally:
            _turns.release()


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere, nice(2) is about the whole process
        os.nice(NICENESS)


_turns = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))
_thread = ThreadPoolExecutor(1, "password hashes", initializer=_lower_priority)
