"""A page for whoever opens the address of an action, for example after signing in again."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from core.errors import method_not_allowed


class RefusedMethodMiddleware:
    """Says what is wrong where Django's answer, 405, is empty: browsers show that as a failure."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not isinstance(response, HttpResponseNotAllowed):
            return response
        page = method_not_allowed(request)
        page["Allow"] = response["Allow"]
        return page
