"""Direct responses to plain viewset requests, bypassing DRF's negotiation, parsing and permissions.

For frequent requests (run detail, a metric point), DRF takes longer than the database. See
docs/adr/0014-direct-answers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from accounts.authentication import caller_of
from core.exceptions import DomainError

if TYPE_CHECKING:
    from rest_framework.viewsets import ViewSet  # the class that the mixin extends
else:
    ViewSet = object

ANY_JSON: Final = frozenset({"", "*/*", "application/json"})


class DirectAnswersMixin(ViewSet):
    """Place before the viewset in the list of base classes.

    ``direct_actions`` maps an action to the name of a static method ``(request, caller, **path
    arguments)`` that returns the JSON of a 200 response. It is called for requests that send and
    accept JSON and are authenticated by a token or open mode. To hand a request over to DRF, the
    method returns None, provided it has not read the body. Domain errors and Http404 get the same
    response as from DRF.
    """

    direct_actions: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        full_view = super().as_view(actions, **initkwargs)
        answers = {
            method.upper(): getattr(cls, cls.direct_actions[action])
            for method, action in (actions or {}).items()
            if action in cls.direct_actions
        }

        @wraps(full_view)
        def view(request: HttpRequest, **arguments: str) -> HttpResponseBase:
            content = None
            answer = answers.get(request.method)
            if answer is not None and _is_plain(request):
                content = _content(answer, request, arguments)
            if content is None:
                return full_view(request, **arguments)
            return HttpResponse(content, content_type="application/json")

        return view if answers else full_view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        error: Exception | None = getattr(request._request, "direct_error", None)
        if error is not None:
            raise error
        super().initial(request, *args, **kwargs)


def _content(
    answer: Callable[..., bytes | None], request: HttpRequest, arguments: dict[str, str]
) -> bytes | None:
    """The response content, or None to let DRF respond (with ``direct_error`` if that is set)."""
    try:
        caller = caller_of(request)
    except APIException:
        return None  # may be a browser session: let DRF authenticate
    try:
        return answer(request, caller, **arguments)
    except (APIException, DomainError, Http404) as error:
        request.direct_error = error  # type: ignore[attr-defined]
        return None


def _is_plain(request: HttpRequest) -> bool:
    if request.META.get("HTTP_ACCEPT", "") not in ANY_JSON or request.META.get("QUERY_STRING"):
        return False
    return request.method == "GET" or (
        request.method == "POST" and request.content_type == "application/json"
    )
