"""Requests to an MLflow server: credentials, pages, and troubles that pass."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import requests
from django.utils.translation import gettext as _
from urllib3.exceptions import HTTPError

from core.exceptions import InvalidInput
from core.text import truncate

T = TypeVar("T")

TIMEOUTS: Final = (10, 120)  # seconds: to connect, between bytes
ATTEMPTS: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.5  # doubled after each attempt: 7.5 s in all
PASSING: Final = frozenset({429, 500, 502, 503, 504})
MAX_SHOWN: Final = 300  # characters of an answer


class ServerAway(Exception):
    """The server has not answered, several times. The message is for the user."""


class ServerRefused(Exception):
    """The server has answered with an error. The message is for the user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Stopped(Exception):
    """The user has interrupted the import."""


class Answer:
    """The body of a file, as a source for the storage. Raises ConnectionError if it breaks off:
    requests lets the exceptions of urllib3 through."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def read(self, size: int = -1) -> bytes:
        try:
            return self._response.raw.read(None if size < 0 else size, decode_content=True) or b""
        except HTTPError as error:
            raise ConnectionError(str(error)) from error


class Connection:
    """``address``: of the server, http or https, with a path if it is not at the root. Credentials
    and certificates are those of MLflow's clients: the variables MLFLOW_TRACKING_….

    Threads may share it. Once ``stopping`` is set, requests raise Stopped.
    """

    def __init__(
        self, address: str, *, environment: Mapping[str, str] = os.environ, attempts: int = ATTEMPTS
    ) -> None:
        """Raises InvalidInput."""
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidInput(
                _(
                    "%(address)s is not the address of a running MLflow server, such as "
                    "http://127.0.0.1:5000. For a folder or a database, start one: mlflow server "
                    "--backend-store-uri …"
                )
                % {"address": address}
            )
        host = parts.netloc.rpartition("@")[2]
        self.host = host
        self.address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"  # without a password
        self.stopping = threading.Event()
        self._attempts = attempts
        self._user = unquote(parts.username or environment.get("MLFLOW_TRACKING_USERNAME", ""))
        self._password = unquote(parts.password or environment.get("MLFLOW_TRACKING_PASSWORD", ""))
        self._token = environment.get("MLFLOW_TRACKING_TOKEN", "")
        self._certificates: str | bool = environment.get(
            "MLFLOW_TRACKING_SERVER_CERT_PATH"
        ) or environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() not in {"true", "1"}
        self._own_certificate = environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
        self._of_thread = threading.local()

    def pages(
        self, method: str, path: str, query: Mapping[str, Any], name: str, type: type[T]
    ) -> Iterator[T]:
        for page in self.raw_pages(method, path, query):
            yield from self.decoded(page.get(name, []), list[type])  # type: ignore[valid-type]

    def raw_pages(
        self, method: str, path: str, query: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        paged = query
        while True:
            page = self.json(method, path, paged)
            yield page
            following = page.get("next_page_token")
            if not following or following == paged.get("page_token"):
                return
            paged = {**query, "page_token": following}

    def json(self, method: str, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        def request() -> dict[str, Any]:
            with self._request(method, path, query) as response:
                content = response.content
            try:
                return msgspec.json.decode(content, type=dict[str, Any])
            except msgspec.DecodeError:
                raise self._not_mlflow() from None

        return self.persistently(request)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, Any]) -> Iterator[Answer]:
        with self._request("GET", path, query, stream=True) as response:
            yield Answer(response)

    def persistently(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, tried several times if the connection breaks or the server has
        trouble. Raises ServerAway, ServerRefused, Stopped."""
        for attempt in range(1, self._attempts + 1):
            try:
                return work()
            except ServerRefused as error:
                if error.status not in PASSING or attempt == self._attempts:
                    raise
            except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
                if attempt == self._attempts:
                    text = _("%(address)s does not answer: %(why)s")
                    values = {"address": self.address, "why": truncate(str(error), MAX_SHOWN)}
                    raise ServerAway(text % values) from None
            except requests.RequestException as error:  # such as a body that breaks off
                if attempt == self._attempts:
                    raise ServerAway(truncate(str(error), MAX_SHOWN)) from None
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            self.stopping.wait(pause)
        raise AssertionError  # the last attempt returns or raises

    def _request(
        self, method: str, path: str, query: Mapping[str, Any], *, stream: bool = False
    ) -> requests.Response:
        if self.stopping.is_set():
            raise Stopped
        response = self._session.request(
            method,
            self.address + path,
            params=query if method == "GET" else None,
            json=None if method == "GET" else query,
            stream=stream,
            timeout=TIMEOUTS,
        )
        if response.ok:
            return response
        with response:
            raise ServerRefused(response.status_code, self._reason(response))

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = requests.Session()
            session.verify = self._certificates
            session.cert = self._own_certificate
            if self._user:
                session.auth = (self._user, self._password)
            elif self._token:
                session.headers["Authorization"] = f"Bearer {self._token}"
        return session

    def _reason(self, response: requests.Response) -> str:
        try:
            text = str(msgspec.json.decode(response.content, type=dict[str, Any])["message"])
        except (msgspec.DecodeError, KeyError):
            text = response.reason or ""
        values = {
            "address": urlsplit(response.url).path,
            "status": response.status_code,
            "text": truncate(text, MAX_SHOWN),
        }
        return _("%(address)s: the server answers %(status)d: %(text)s") % values

    def decoded(self, content: Any, type: type[T]) -> T:
        try:
            return msgspec.convert(content, type, strict=False)
        except msgspec.ValidationError:
            raise self._not_mlflow() from None

    def _not_mlflow(self) -> ServerRefused:
        text = _("%(address)s does not answer as an MLflow server does.")
        return ServerRefused(0, text % {"address": self.address})
