"""The colors of the pages: light, dark, or as the system has them. Kept in a cookie."""

from typing import Final, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from metrics.plots import Theme

THEMES: Final = ("light", "dark")
COOKIE: Final = "theme"
YEAR_SECONDS: Final = 365 * 86_400


def theme(request: HttpRequest) -> dict[str, str]:
    """Template context: ``theme``, empty for that of the system."""
    return {"theme": _chosen(request)}


def theme_of_pictures(request: HttpRequest) -> Theme:
    """What the pictures of a page are asked for in."""
    return _chosen(request) or "auto"


def _chosen(request: HttpRequest) -> Literal["light", "dark", ""]:
    match request.COOKIES.get(COOKIE):
        case "light":
            return "light"
        case "dark":
            return "dark"
    return ""


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Set the theme and return to the page in ``next``."""
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = settings.LOGIN_REDIRECT_URL
    response = redirect(back)
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        secure = settings.SESSION_COOKIE_SECURE
        response.set_cookie(
            COOKIE, chosen, YEAR_SECONDS, samesite="Lax", secure=secure, httponly=True
        )
    else:
        response.delete_cookie(COOKIE)
    return response
