"""Handlers for errors raised outside DRF: the API's JSON error shape, or an HTML error page."""

import sys
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext as _

from core import refusals
from core.database_errors import problem_of
from core.exceptions import DomainError
from core.json import JSONRenderer
from core.pages import is_page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    # A host name is refused before anything has set the reader's language.
    with translation.override(translation.get_language_from_request(request)):
        detail = _("The request could not be understood.")
        if isinstance(exception, DisallowedHost):
            text = _("This server does not answer to %(host)s: see TRAINHUB_ALLOWED_HOSTS.")
            detail = text % {"host": request.META.get("HTTP_HOST") or request.META["SERVER_NAME"]}
        return _answer(request, 400, "bad_request", detail)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, "permission_denied", _("You do not have permission to do this."))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found", _("The requested URL was not found."))


def method_not_allowed(request: HttpRequest) -> HttpResponse:
    detail = _("This method is not allowed.")
    if request.method in ("GET", "HEAD"):
        detail = _("Nothing was done: this address is no page. Go back and try again.")
    return _answer(request, 405, "method_not_allowed", detail)


def server_error(request: HttpRequest) -> HttpResponse:
    """For what was raised, also by middleware, which ``unserved`` is not asked about."""
    response = unserved(request, sys.exception())
    return response or _answer(request, 500, "error", _("Something went wrong on the server."))


def unserved(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """The answer to a request that the database does not serve; None for other errors."""
    problem = problem_of(error)
    if problem is None or error is None:
        return None
    refusals.count(problem, error)
    return refusal(request, problem)


def refusal(request: HttpRequest, problem: DomainError) -> HttpResponse:
    """The answer that says when to try again."""
    response = _answer(request, problem.status_code, problem.code, str(problem.message))
    response["Retry-After"] = str(problem.retry_seconds)
    refusals.mark_as_logged(response)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    detail = _("The form has expired or was submitted from another site. Reload the page.")
    return _answer(request, 403, "csrf_failed", detail)


def _answer(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    if is_page(request):
        return render(request, "error.html", {"status": status, "detail": detail}, status=status)
    return json_error(status, code, detail)


def json_error(status: int, code: str, detail: str) -> HttpResponse:
    """A response in the API's error shape, for code outside DRF views."""
    kind = "server_error" if status >= 500 else "client_error"
    content: dict[str, Any] = {
        "type": kind,
        "errors": [{"code": code, "detail": detail, "attr": None}],
    }
    return HttpResponse(
        JSONRenderer().render(content), status=status, content_type="application/json"
    )
