"""Middleware that runs for pages only, and the language and headers of API responses.

API clients do not use sessions, messages and the like, and for a single reported point that
middleware would take longer than the request itself. What is left for them, the check of the host
name and the headers that are the same every time, is done here at once.
"""

from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.module_loading import import_string

from core import refusals, request_counts, security_headers, sessions
from core.current_request import answering
from core.errors import refusal, unserved
from core.exceptions import DomainError
from core.pages import is_page

TOO_MANY: Final = 429
GetResponse = Callable[[HttpRequest], HttpResponse]


class PagesMiddleware:
    """Runs settings.PAGES_MIDDLEWARE for pages only; outermost.

    Calls their hooks as Django does (django.core.handlers.base.BaseHandler.load_middleware). A view
    that is not a page must be marked @login_not_required, as DRF's views are: it either checks
    credentials itself or is public.
    """

    def __init__(self, get_response: GetResponse) -> None:
        sessions.limit_requests()  # of all processes, only those that answer them have middleware
        self.get_response = get_response
        self._view_hooks: list[Callable[..., HttpResponse | None]] = []
        self._exception_hooks: list[Callable[..., HttpResponse | None]] = []
        handler: Callable[[HttpRequest], Any] = get_response
        for path in reversed(settings.PAGES_MIDDLEWARE):
            middleware = import_string(path)(convert_exception_to_response(handler))
            if hasattr(middleware, "process_view"):
                self._view_hooks.insert(0, middleware.process_view)
            if hasattr(middleware, "process_exception"):
                self._exception_hooks.append(middleware.process_exception)
            handler = middleware
        self._pages = handler
        self._headers = ApiHeaders()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with answering(request):
            response = self._respond(request)
        refusals.note_answer(request.method, response.status_code)
        request_counts.count(response.status_code)
        return response

    def _respond(self, request: HttpRequest) -> HttpResponse:
        if is_page(request):
            try:
                response: HttpResponse = self._pages(request)
                return response
            finally:  # the thread's next request may be an API request
                translation.deactivate()
        response = self._in_language(request)
        self._headers.complete(request, response)
        return response

    def _in_language(self, request: HttpRequest) -> HttpResponse:
        if not (request.META.get("HTTP_ACCEPT_LANGUAGE") or request.META.get("HTTP_COOKIE")):
            return self.get_response(request)
        with translation.override(translation.get_language_from_request(request), deactivate=True):
            response = self.get_response(request)
            response.headers.setdefault("Content-Language", translation.get_language())
        patch_vary_headers(response, ("Accept-Language",))
        return response

    def process_view(
        self, request: HttpRequest, view: Any, arguments: Any, keywords: Any
    ) -> HttpResponse | None:
        if not is_page(request):
            request.get_host()  # raises DisallowedHost
            if getattr(view, "login_required", True):
                raise PermissionDenied
            return None
        for hook in self._view_hooks:
            response = hook(request, view, arguments, keywords)
            if response is not None:
                return response
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if is_page(request):
            for hook in self._exception_hooks:
                response = hook(request, exception)
                if response is not None:
                    return response
        return unserved(request, exception)


class ApiHeaders:
    """The headers that Django's middleware for security and content lengths sets, computed once."""

    def __init__(self) -> None:
        self._security = {
            is_secure: _security_headers(is_secure=is_secure) for is_secure in (False, True)
        }
        self._json = {
            is_secure: [("Content-Type", "application/json"), *headers]
            for is_secure, headers in self._security.items()
        }

    def of_json(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Those of a JSON response, but for its length."""
        return self._json[request.is_secure()]

    def complete(self, request: HttpRequest, response: HttpResponse) -> None:
        headers = response.headers
        for name, text in self._security[request.is_secure()]:
            headers.setdefault(name, text)
        if not response.streaming and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(response.content))


def _security_headers(*, is_secure: bool) -> list[tuple[str, str]]:
    """Those that Django's middleware sets, from the settings, and the policy."""
    request, response = HttpRequest(), HttpResponse()
    request.is_secure = lambda: is_secure  # type: ignore[method-assign]
    for middleware in (SecurityMiddleware, XFrameOptionsMiddleware):
        middleware(lambda _request: HttpResponse()).process_response(request, response)
    for name, text in security_headers.of_api().items():
        response.headers[name] = text
    return [(name, text) for name, text in response.items() if name != "Content-Type"]


class DomainErrorMiddleware:
    """Turns a DomainError on a page into a message and a redirect to the previous page, unless what
    helps is to wait."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, DomainError):
            return None
        if exception.status_code == TOO_MANY:
            return refusal(request, exception)
        messages.error(request, str(exception.message))
        back = request.headers.get("Referer", "")
        if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
            back = "/dashboard"
        return HttpResponseRedirect(back)
