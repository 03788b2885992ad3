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
        body = request._stream = _Body(request._stream)  # type: ignore[assignment]
        response = view(request, **arguments)
        if response is None:
            body.give_back(request)
            return self.get_response(request)
        return response


class _Body:
    """The body of a request, to be read when the view wants it (it asks first who is calling), and
    then once more by the long way; Django itself has no way to."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._content: bytes | None = None

    def read(self, size: int) -> bytes:
        """What the view reads, it reads at once: see read_bounded."""
        content: bytes = self._stream.read(size)
        self._content = content
        return content

    def give_back(self, request: Any) -> None:
        """Let ``request`` be read as if nobody had."""
        request._stream = self._stream if self._content is None else BytesIO(self._content)
        request._read_started = False
