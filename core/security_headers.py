"""The headers that tell browsers what a response may do: the same every time, computed once.

Content Security Policy Level 3 (https://www.w3.org/TR/CSP3), Permissions Policy
(https://www.w3.org/TR/permissions-policy). No policy allows inline scripts, event handlers, or
``eval``. Why not django-csp: docs/adr/0035-safe-operation.md.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

CSP: Final = "Content-Security-Policy"
# What no page asks for. A browser refuses it to scripts and frames that get in all the same.
PERMISSIONS: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope"),
        *("microphone", "midi", "payment", "publickey-credentials-get", "serial", "usb"),
    )
)
# JSON, files and whatever else is not a page: nothing is loaded, run, sent or framed.
API_POLICY: Final = (
    "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_policy(**additions: str) -> str:
    """The policy of pages; ``additions``: further sources by directive, ``style_src="…"``."""
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "frame-src": "'self'",
        # Browsers also apply it to what a form is redirected to, such as an identity provider.
        "form-action": " ".join(["'self'", *settings.CSP_FORM_ORIGINS]),
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    for name, sources in additions.items():
        directive = name.replace("_", "-")
        directives[directive] = f"{directives.get(directive, '')} {sources}".strip()
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def style_hash(text: str) -> str:
    """The source that allows an inline style sheet of exactly this ``text``."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def of_pages() -> Mapping[str, str]:
    return {CSP: page_policy(), "Permissions-Policy": PERMISSIONS}


def of_api() -> Mapping[str, str]:
    return {CSP: API_POLICY}


class SecurityHeadersMiddleware:
    """Sets the headers of pages, except those that a view has set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._headers = of_pages()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if settings.DEBUG and response.status_code in (404, 500):
            return response  # Django's pages with tracebacks have inline styles and scripts
        for name, text in self._headers.items():
            response.headers.setdefault(name, text)
        return response
