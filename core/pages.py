"""Which URLs are pages for browsers (including static files); all others are the API."""

from typing import Final

from django.http import HttpRequest

PREFIXES: Final = ("/dashboard", "/admin", "/login", "/logout", "/static/")


def is_page(request: HttpRequest) -> bool:
    return request.path_info.startswith(PREFIXES)
