"""Takes secrets out of log lines: those that are known, and what looks like one.

The last thing that happens to a line, so that it also covers tracebacks and what libraries log.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from django.conf import settings

HIDDEN: Final = "***"
MIN_SECRET_LENGTH: Final = 8  # shorter ones would hide ordinary words
MAX_REMEMBERED: Final = 1000
_VARIABLES: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN")

# The ends of names. "tokens" alone are no secret here: trainings count them.
_NAMES: Final = (
    r"token|password|passwd|passphrase|secret|secret[_-]key|access[_-]key|api[_-]?key"
    r"|private[_-]key|signature|credential|csrfmiddlewaretoken|sessionid|csrftoken"
)
# No pattern begins with a part that repeats: on a long line of which it matches any place but the
# end, such as a path of 60 kB that a stranger asks for, that takes minutes.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    # Tokens of TrainHub, also percent-encoded in a path.
    (re.compile(r"(?:(?<![^\W_])|(?<=%[0-9A-Fa-f]{2}))th_[0-9A-Za-z]{16,}"), f"th_{HIDDEN}"),
    # postgresql://user:password@host, https://user:token@host
    (re.compile(r"(://[^\s/:@\"']*):[^\s/@\"']+@"), rf"\1:{HIDDEN}@"),
    # Links to reset a password: trainhub/account_urls.py.
    (re.compile(r"(/login/reset/[^/\s]+/)[^/\s\"']+"), rf"\1{HIDDEN}"),
    # Headers, also as they stand in a dictionary that is printed.
    (
        re.compile(r"(?i)\b((?:set-)?cookie[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\r\n]+)"),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?)(?:(\w+) +)?[^\s\"',}]+"),
        rf"\1\2 {HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic) +(?!\*)[\w+/.~=-]{8,}"), rf"\1 {HIDDEN}"),
    # token=…, "password": "…", SECRET_KEY=…
    (
        re.compile(
            rf"(?i)(?<![^\W_])({_NAMES})([\"']?\s*[=:]\s*\[?)(\"[^\"]+\"|'[^']+'|[^\s&;,\"'}})\]]+)"
        ),
        rf"\1\2{HIDDEN}",
    ),
)


# Secrets that this process has decrypted, those that it has used last at the end.
_remembered: dict[str, None] = {}
_remembered_lock = threading.Lock()


def remember(secrets: Iterable[str]) -> None:
    """Take ``secrets``, and each line of those that have several, out of all later lines. A process
    remembers MAX_REMEMBERED of them."""
    lines = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
    long = sorted(line for line in lines if len(line) >= MIN_SECRET_LENGTH)
    with _remembered_lock:
        is_news = any(line not in _remembered for line in long)
        for line in long:
            _remembered.pop(line, None)
            _remembered[line] = None
        for line in list(_remembered)[:-MAX_REMEMBERED]:
            del _remembered[line]
        if is_news:
            _known.cache_clear()


def scrub(text: str) -> str:
    """``text`` without secrets: *** in their places."""
    for secret in _known():
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(1)
def _known() -> tuple[str, ...]:
    """The secrets of this installation, longest first: one may be part of another."""
    found = {secret for secret in _of_settings() if len(secret) >= MIN_SECRET_LENGTH}
    found |= set(_remembered)
    return tuple(sorted(found, key=len, reverse=True))


def _of_settings() -> Iterator[str]:
    yield settings.SECRET_KEY
    yield from settings.SECRET_KEY_FALLBACKS
    yield settings.RAY_TOKEN
    yield settings.EMAIL_HOST_PASSWORD
    for database in settings.DATABASES.values():
        yield str(database.get("PASSWORD") or "")
    for name in _VARIABLES:
        yield os.environ.get(name, "")
