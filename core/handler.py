"""The WSGI handler: Django's, with a shorter way for the most frequent requests of the API.

For these, what Django does around a view takes longer than the view itself: see
docs/adr/0023-the-handler-answers-frequent-requests.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from core import refusals, request_counts
from core.current_request import answering
from core.log_context import note_request
from core.middleware import ApiHeaders

Environ: TypeAlias = dict[str, Any]
# (request, **path arguments): the JSON of a 200 response, or None to let Django handle the request.
DirectView: TypeAlias = Callable[..., bytes | None]

MAX_PATHS: Final = 4096  # that are remembered; clients ask for the same again and again
REQUEST: Final = "trainhub.request"


class Handler(WSGIHandler):
    """Asks the attribute ``direct`` of a view for the response, if it has one.

    Only for requests that set no language and bring no cookies. If it returns None, or raises,
    Django handles the request as usual: the view finds the error as ``request.direct_error`` and
    has to raise it, instead of trying again.
    """

    # A class in Django, which only calls it.
    request_class = staticmethod(  # type: ignore[assignment]
        lambda environ: environ.pop(REQUEST, None) or WSGIRequest(environ)
    )

    def __init__(self) -> None:
        super().__init__()
        self._headers = ApiHeaders()

    def __call__(  # type: ignore[override]
        self, environ: Environ, start_response: Callable[..., Any]
    ) -> HttpResponseBase | list[bytes]:
        note_request(environ)
        request = self.request_class(environ)
        view, arguments = _direct_view(request.path_info)
        if view is not None and _is_plain(environ):
            self.close_old_connection()
            content = _answered(view, request, arguments)
            if content is not None:
                refusals.note_answer(request.method, 200)
                request_counts.count(200)
                length = ("Content-Length", str(len(content)))
                start_response("200 OK", [*self._headers.of_json(request), length])
                return [content]
        environ[REQUEST] = request
        return super().__call__(environ, start_response)

    def close_old_connection(self) -> None:
        """As Django does when a request begins."""
        connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()


@lru_cache(MAX_PATHS)
def _direct_view(path: str) -> tuple[DirectView | None, dict[str, Any]]:
    try:
        match = resolve(path)
    except Resolver404:
        return None, {}
    return getattr(match.func, "direct", None), match.kwargs


def _is_plain(environ: Environ) -> bool:
    return not (
        environ.get("HTTP_ACCEPT_LANGUAGE")
        or environ.get("HTTP_COOKIE")
        or environ.get("SCRIPT_NAME")
    )


def _answered(view: DirectView, request: HttpRequest, arguments: dict[str, Any]) -> bytes | None:
    try:
        request.get_host()  # raises DisallowedHost
        with answering(request):
            return view(request, **arguments)
    except Exception as error:  # raised again by the view
        request.direct_error = error  # type: ignore[attr-defined]
        return None


def raise_direct_error(request: HttpRequest) -> None:
    """For views that have ``direct``: raise what that raised, if it did."""
    error: Exception | None = getattr(request, "direct_error", None)
    if error is not None:
        raise error
