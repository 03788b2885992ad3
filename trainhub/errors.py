"""What Django itself answers with: JSON of the API's one error shape, or a page for readers."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from trainhub.json import JSONRenderer

PAGES = ("/dashboard", "/admin", "/login", "/logout")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "bad_request", _("The request is not one we understand."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, "permission_denied", _("You may not do this."))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found", _("There is nothing at this address."))


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(request, 500, "error", _("Something went wrong on our side."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    detail = _("The form has expired or came from another site: load the page again.")
    return _answer(request, 403, "csrf_failed", detail)


def _answer(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    if request.path.startswith(PAGES):
        return render(request, "error.html", {"status": status, "detail": detail}, status=status)
    return json_error(status, code, detail)


def json_error(status: int, code: str, detail: str) -> HttpResponse:
    """An answer in the API's one error shape, where no DRF view makes it."""
    kind = "server_error" if status >= 500 else "client_error"
    content: dict[str, Any] = {
        "type": kind,
        "errors": [{"code": code, "detail": detail, "attr": None}],
    }
    return HttpResponse(
        JSONRenderer().render(content), status=status, content_type="application/json"
    )
