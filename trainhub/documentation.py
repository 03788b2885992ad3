"""The API's documentation, /docs (Swagger UI) and /redoc, without inline scripts."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.response import Response

from core import security_headers

# ReDoc's styles are written by script into style elements that are empty, but for those of its
# scroll bars, and it searches in a worker that it makes from a string.
SCROLL_BARS: Final = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
REDOC_SOURCES: Final = {
    "style_src": f"{security_headers.style_hash('')} {SCROLL_BARS}",
    "worker_src": "blob:",
}


class _WithPolicy:
    """A page at an address that is not one of ``core/pages.py``."""

    sources: ClassVar[dict[str, str]] = {}

    def finalize_response(self, *arguments: Any, **keywords: Any) -> Response:
        response: Response = super().finalize_response(*arguments, **keywords)  # type: ignore[misc]
        for name, text in security_headers.of_pages().items():
            response.headers[name] = text
        response.headers[security_headers.CSP] = security_headers.page_policy(**self.sources)
        return response


class SwaggerView(_WithPolicy, SpectacularSwaggerSplitView):
    """Swagger UI; its script is the same address with ``?script=``."""


class RedocView(_WithPolicy, SpectacularRedocView):
    """ReDoc."""

    sources = REDOC_SOURCES
