"""The API's documentation, /docs (Swagger UI) and /redoc, without inline scripts."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib.auth.views import redirect_to_login
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import security_headers
from core.json import JSONRenderer
from core.negotiation import AnyAccept

# ReDoc's styles are written by script into style elements that are empty, but for those of its
# scroll bars, and it searches in a worker that it makes from a string.
SCROLL_BARS: Final = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
REDOC_SOURCES: Final = {
    "style_src": f"{security_headers.style_hash('')} {SCROLL_BARS}",
    "worker_src": "blob:",
}


class _Documentation(APIView):
    """A page at an address that is not one of ``core/pages.py``: its errors are those of the API,
    but for browsers that have not signed in."""

    sources: ClassVar[dict[str, str]] = {}
    content_negotiation_class = AnyAccept

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, NotAuthenticated) and _is_browser(self.request):
            return redirect_to_login(self.request.get_full_path())
        return super().handle_exception(exc)

    def finalize_response(
        self, request: Request, response: Any, *arguments: Any, **keywords: Any
    ) -> Response:
        if getattr(response, "exception", False):  # the template shows no errors
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
        answer: Response = super().finalize_response(request, response, *arguments, **keywords)
        for name, text in security_headers.of_pages().items():
            answer.headers[name] = text
        answer.headers[security_headers.CSP] = security_headers.page_policy(**self.sources)
        return answer


def _is_browser(request: Request) -> bool:
    """Whether pages are asked for by name: ``*/*`` is a script."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", "")


class SwaggerView(_Documentation, SpectacularSwaggerSplitView):
    """Swagger UI; its script is the same address with ``?script=``."""


class RedocView(_Documentation, SpectacularRedocView):
    """ReDoc."""

    sources = REDOC_SOURCES
