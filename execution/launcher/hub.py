"""The server's endpoints for an attempt's launchers, over HTTP: see execution/mirror/viewsets.py.

An error is one of four: Refused (the server takes nothing more of this attempt), OutOfStep (what it
knows is not what was thought), Rejected (it will never take this request), Away (anything else: try
again).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

SECONDS: Final = 30.0  # of a request
ENDED: Final = frozenset({404, 410})
OUT_OF_STEP: Final = 409
REJECTED: Final = frozenset({400, 411, 413, 414, 415, 422, 431})  # by a proxy, too
UNAUTHORIZED: Final = 401
REFUSED_SECONDS: Final = 60.0  # of 401 in a row: an attempt's token ends with it
TOO_MUCH_WAITS: Final = "too_much_waits"
MAX_WORDS: Final = 500


class Refused(Exception):
    """The attempt is over, or another launcher is this node's."""


class OutOfStep(Exception):
    """The server knows another version, or fewer bytes, of a file."""


class Rejected(Exception):
    """The server will never take this request; why, in its words."""


class Away(Exception):
    """The server does not answer, or cannot for now."""


class Full(Away):
    """Its worker has to store first what has arrived."""


class Unauthorized(Away):
    """The token is not valid (any more)."""


@dataclass(frozen=True)
class Hub:
    """``url``: the attempt's, ``…/projects/P/runs/R/attempts/N``. ``token``: the run's; empty in
    open mode."""

    url: str
    token: str

    def start(self) -> dict[str, Any]:
        """What to start. Raises Refused, Rejected, Away."""
        return dict(json.loads(self._request("GET", "/start")))

    def start_bytes(self, first: int, end: int) -> bytes:
        """Bytes of the archive of what it starts with. Raises Refused, Rejected, Away."""
        return self._request("GET", "/start/files", headers={"Range": f"bytes={first}-{end - 1}"})

    def sync(self, rank: int, report: dict[str, Any]) -> dict[str, Any]:
        """Raises Refused, Rejected, Away."""
        body = json.dumps(report).encode()
        answer = self._request("POST", f"/nodes/{rank}", body, {"Content-Type": "application/json"})
        return dict(json.loads(answer))

    def put(self, rank: int, content: bytes, **about: str | int) -> int:
        """Send a chunk of a file; the number of bytes that the server has of it then. Raises
        Refused, OutOfStep, Rejected, Away."""
        query = urllib.parse.urlencode(about)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._request("PUT", f"/nodes/{rank}/files?{query}", content, headers)
        return int(json.loads(answer)["size"])

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, body, sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            raise meaning_of(error) from None
        except Exception as error:  # of sockets, TLS, a proxy, an answer that is cut off
            raise Away(f"{type(error).__name__}: {error}") from None


def meaning_of(error: urllib.error.HTTPError) -> Exception:
    """The exception that an answer is raised as."""
    try:
        text = error.read(10_000).decode(errors="replace")
    except Exception:  # cut off: the status says enough
        text = ""
    code, words = _words_of(text)
    why = f"{error.code} {words}".strip()
    if error.code in ENDED:
        return Refused(why)
    if error.code == OUT_OF_STEP:
        return OutOfStep(why)
    if error.code in REJECTED:
        return Rejected(why)
    if code == TOO_MUCH_WAITS:
        return Full(why)
    return Unauthorized(why) if error.code == UNAUTHORIZED else Away(why)


def _words_of(text: str) -> tuple[str, str]:
    """The code and the words of an answer: those of TrainHub's first error, else its text."""
    try:
        first = json.loads(text)["errors"][0]
        where = f"{first['attr']}: " if first["attr"] else ""
        return str(first["code"]), f"{where}{first['detail']}"[:MAX_WORDS]
    except (ValueError, TypeError, KeyError, IndexError):  # a proxy's
        return "", " ".join(text.split())[:MAX_WORDS]
