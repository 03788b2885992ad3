"""Requests to the server: repeated where that is safe, and their errors in one shape.

Every request may be repeated: those that create a run carry an Idempotency-Key, by which the server
knows them, and all others change nothing when they come twice.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from trainhub_client import __version__
from trainhub_client.config import Config
from trainhub_client.errors import ClientError, NotFound, Refused, Unreachable, UsageError

TIMEOUT = httpx.Timeout(60.0, connect=10.0)  # a cancel takes up to 20 s to answer
UPLOAD_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
TRIES = 5
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
PAGE_SIZE = 500
DIRECT = "direct"  # as RFC 7240 prefers: bytes that come from where the server keeps them
NAMED = re.compile(r"/(project|run|artifact)s/([^/]+)")  # in the path of a request
AGAIN = frozenset({429, 502, 503, 504})


class Api:
    """``tries``: how often a request is sent before the server counts as unreachable."""

    def __init__(self, config: Config, *, tries: int = TRIES) -> None:
        if not config.url:
            raise UsageError(
                "No server is known. Sign in: trainhub login URL (or set TRAINHUB_URL)"
            )
        headers = {"User-Agent": f"trainhub-client/{__version__}", "Accept-Language": "en"}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        self.config, self.tries = config, tries
        try:
            self._http = httpx.Client(
                base_url=config.url, headers=headers, timeout=TIMEOUT, verify=_certificates()
            )
        except (ValueError, OSError) as error:  # of a proxy's address, of a file of certificates
            raise UsageError(f"The connection cannot be set up: {error}") from None

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return _json(self.request("GET", path, params=params))

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return _json(self.request("POST", path, json={} if body is None else body, **options))

    def create(
        self, path: str, body: Any, *, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """A POST that makes a run: one, however often it has to be sent."""
        all_headers = {**(headers or {}), "Idempotency-Key": str(uuid.uuid4())}
        return self.post(path, body, headers=all_headers, **options)

    def patch(self, path: str, body: Any) -> Any:
        return _json(self.request("PATCH", path, json=body))

    def pages(self, path: str, **params: Any) -> Iterator[Any]:
        """The items of a list, page by page."""
        for page in range(1, 1_000_000):
            response = self.request(
                "GET", path, params={**params, "page": page, "page_size": PAGE_SIZE}
            )
            content = _json(response)
            items = content.get("items", []) if isinstance(content, dict) else content
            yield from items
            if len(items) < PAGE_SIZE:
                return

    def exists(self, path: str) -> bool:
        try:
            self.request("HEAD", path)
        except NotFound:
            return False
        return True

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Raises NotFound, Refused, Unreachable."""
        return self._repeat(lambda: self._http.request(method, path, **_given(options)))

    def upload(self, path: str, body: Callable[[], Any], **options: Any) -> Any:
        """``body``: opens what is sent, once a try."""
        return _json(
            self._repeat(
                lambda: self._http.post(path, content=body(), timeout=UPLOAD_TIMEOUT, **options)
            )
        )

    @contextlib.contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """A response whose body is read bit by bit. Raises as ``request`` does, also while it is
        read; tried once. If the header ``Prefer`` is ``direct``, the bytes may come from where the
        server has sent this on to."""
        target = ""
        try:
            with self._http.stream("GET", path, **_given(options)) as response:
                if response.headers.get("Preference-Applied") == DIRECT:
                    target = response.headers.get("Location", "")
                else:
                    if response.is_error:
                        response.read()
                    _check(response)
                    yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if target:
            with _stream_of_other(target, options.get("headers", {})) as response:
                yield response

    def _repeat(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        for number in range(1, self.tries + 1):
            last = number == self.tries
            try:
                response = send()
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError) as error:
                raise UsageError(f"{self.config.url}: {error}") from None
            except httpx.TransportError as error:
                if last or _is_hopeless(error):
                    raise self._unreachable(error) from None
                time.sleep(_pause(number))
            else:
                if response.status_code not in AGAIN or last:
                    _check(response)
                    return response
                time.sleep(_pause(number, response.headers.get("Retry-After", "")))
        raise AssertionError("no tries")

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        what = (
            "does not answer in time"
            if isinstance(error, httpx.TimeoutException)
            else "cannot be reached"
        )
        why = str(error) or type(error).__name__
        return Unreachable(f"{self.config.url} {what}: {why}", "unreachable")


@contextlib.contextmanager
def _stream_of_other(url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """From a server that gets no token, and knows no ETags of TrainHub. Raises Unreachable."""
    sent: dict[str, str] = {
        name: headers[name] for name in ("Accept-Encoding", "Range") if name in headers
    }
    host = httpx.URL(url).host
    try:
        with httpx.stream(
            "GET", url, headers=sent, timeout=TIMEOUT, verify=_certificates()
        ) as response:
            if not response.is_success:
                raise Unreachable(f"{host} answers with {response.status_code}.", "unreachable")
            yield response
    except httpx.HTTPError as error:
        raise Unreachable(f"{host} cannot be reached: {error}", "unreachable") from None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    params = options.get("params")
    if params:
        options["params"] = {name: value for name, value in params.items() if value is not None}
    return options


def _certificates() -> ssl.SSLContext | bool:
    """As httpx finds them, which knows SSL_CERT_FILE; and as requests does."""
    file = os.environ.get("REQUESTS_CA_BUNDLE")
    if not file or os.environ.get("SSL_CERT_FILE"):
        return True
    folder = file if os.path.isdir(file) else None
    return ssl.create_default_context(cafile=None if folder else file, capath=folder)


def _is_hopeless(error: httpx.TransportError) -> bool:
    """A certificate that is wrong stays wrong."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _pause(number: int, retry_after: str = "") -> float:
    """Seconds before the next try."""
    if retry_after.isdecimal():
        return min(float(retry_after), MAX_PAUSE_SECONDS)
    growing: float = FIRST_PAUSE_SECONDS * 2.0 ** (number - 1)
    return min(growing, MAX_PAUSE_SECONDS) * random.uniform(0.7, 1.3)


def _check(response: httpx.Response) -> None:
    """Raises NotFound, Refused, Unreachable."""
    if response.is_success:
        return
    if response.is_redirect:
        target = response.headers.get("Location", "?")
        raise Refused(f"The server sends elsewhere: {target}. Is its address right?", "redirect")
    code, message = _told(response)
    status = response.status_code
    if status == 401:
        raise Refused(f"{message} Sign in: trainhub login", code)
    if status == 404:
        raise NotFound(_not_found(response, message), code)
    if status >= 500 or status in AGAIN:
        raise Unreachable(f"The server answers with {status}: {message}", code)
    raise Refused(message, code)


def _not_found(response: httpx.Response, message: str) -> str:
    """With the names that the request had, where the server only says that something is not there:
    whether the project or what is asked of it is none of the caller's business."""
    named = NAMED.findall(response.request.url.path)
    if message != "Not found." or not named:
        return message
    return f"There is no {' in '.join(f'{kind} {name}' for kind, name in reversed(named))}."


def _told(response: httpx.Response) -> tuple[str, str]:
    """The code and the text of an error, of whatever shape."""
    try:
        content = response.json()
        if "jsonrpc" in content:
            return "error", str(content["error"]["message"])
        errors = content["errors"]
        texts = [
            f"{error['attr']}: {error['detail']}" if error.get("attr") else error["detail"]
            for error in errors
        ]
        return errors[0]["code"], " ".join(texts)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        text = " ".join(response.text.split())[:300]
        return "error", text or response.reason_phrase or str(response.status_code)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise ClientError(
            f"{response.url.host} answers, but not as TrainHub does. Is its address right?",
            "no_trainhub",
        ) from None
