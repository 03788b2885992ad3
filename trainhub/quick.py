"""The API's most frequent requests, answered before the pages' middleware is gone through.

Sessions, messages, languages and the rest are for people at pages; a program that reports a point
has no use for them, and they take longer than the point does. A quick view answers the plain case
alone. Everything else (errors, browsers' sessions, other methods) it leaves to the view that has
the address in trainhub/urls.py, so that there is one place that says what those are.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from trainhub.quick_urls import quick_view

GetResponse = Callable[[HttpRequest], HttpResponse]


class QuickAnswersMiddleware:
    """Stands behind what looks after every answer, and before all that pages need."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        found = quick_view(request.path_info)
        if found is None:
            return self.get_response(request)
        view, arguments = found
        body = _hold_body(request)
        response = view(request, **arguments)
        if response is None:
            _give_back(request, body)
            return self.get_response(request)
        return response


def _hold_body(request: Any) -> bytes:
    """Read as much of the body as any of these addresses takes, and one byte more, by which the
    long way sees that it is too large."""
    body: bytes = request.read(settings.MAX_JSON_BYTES + 1)
    _give_back(request, body)
    return body


def _give_back(request: Any, body: bytes) -> None:
    """Let ``request`` be read as if nobody had; Django itself has no way to."""
    request._stream = BytesIO(body)
    request._read_started = False
