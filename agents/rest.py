"""Requests of our own to the REST API, answered in this process with the caller's credentials.

A tool that changes something is such a request: roles, checks, idempotency and the audit are those
of the API, by the same code. Each counts as a request in the numbers for Prometheus, too.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final, cast
from urllib.parse import urlencode

import orjson
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from core.exceptions import DomainError

VIA: Final = "mcp"  # in the audit
SERVER_ERROR: Final = 500
# Of the agent's request: who calls, from where, in which language, by which address of ours.
KEPT: Final[tuple[str, ...]] = (
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_AUTHORIZATION",
    "HTTP_HOST",
    "HTTP_IDEMPOTENCY_KEY",  # of a call that makes a run
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REQUEST_ID",
    "REMOTE_ADDR",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "wsgi.url_scheme",
)


class Refused(DomainError):
    """The API has answered with an error, whose text this has."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Rest:
    """``request``: the agent's."""

    def __init__(self, request: HttpRequest) -> None:
        self._environ: dict[str, Any] = {
            name: request.META[name] for name in KEPT if name in request.META
        }

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of the answer. ``query``: without those that are None. Raises Refused."""
        return self._content("GET", path, query)

    def post(self, path: str, body: Any, **query: Any) -> Any:
        return self._content("POST", path, query, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._content("PATCH", path, {}, body)

    def _content(self, method: str, path: str, query: dict[str, Any], body: Any = None) -> Any:
        response = self._answer(method, path, query, body)
        if response.status_code < 400:
            return orjson.loads(response.content)
        raise Refused(_told(response), response.status_code)

    def _answer(self, method: str, path: str, query: dict[str, Any], body: Any) -> HttpResponse:
        content = b"" if body is None else orjson.dumps(body)
        given = {name: value for name, value in query.items() if value is not None}
        request = WSGIRequest(
            {
                **self._environ,
                "REQUEST_METHOD": method,
                "PATH_INFO": path,
                "QUERY_STRING": urlencode(given, doseq=True),
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(content)),
                "wsgi.input": io.BytesIO(content),
            }
        )
        request.via = VIA  # type: ignore[attr-defined]  # see audit/callers.py
        # Without closing it, which would end the agent's request for Django: its connections.
        return cast(HttpResponse, _handler().get_response(request))


@cache
def _handler() -> BaseHandler:
    handler = BaseHandler()
    handler.load_middleware()
    return handler


def _told(response: HttpResponse) -> str:
    """The texts of an error, with the names of the fields that they are about."""
    if response.status_code == SERVER_ERROR:
        return _("Something went wrong on the server.")
    try:
        errors = orjson.loads(response.content)["errors"]
        return " ".join(
            f"{error['attr']}: {error['detail']}" if error.get("attr") else str(error["detail"])
            for error in errors
        )
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
