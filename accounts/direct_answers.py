"""Direct responses of viewsets to plain requests, bypassing DRF and most of Django.

For frequent requests (run detail, a metric point), these take longer than the database. See
core/handler.py and docs/adr/0014-direct-answers.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import HttpRequest
from rest_framework.request import Request

from accounts.authentication import caller_of
from core.handler import raise_direct_error

if TYPE_CHECKING:
    from rest_framework.viewsets import ViewSet  # the class that the mixin extends
else:
    ViewSet = object

ANY_JSON: Final = frozenset({"", "*/*", "application/json"})


class DirectAnswersMixin(ViewSet):
    """Place before the viewset in the list of base classes.

    ``direct_actions`` maps an action to the name of a static method ``(request, caller, **path
    arguments)`` that returns the JSON of a 200 response. It is called for requests that send and
    accept JSON, are authenticated by a token or open mode, and have no query, unless the action is
    one of ``direct_queries``. To hand a request over to DRF, the method returns None, provided it
    has not read the body. What it raises gets the same response as from DRF.
    """

    direct_actions: ClassVar[Mapping[str, str]] = {}
    direct_queries: ClassVar[Collection[str]] = ()

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        view: Any = super().as_view(actions, **initkwargs)
        direct = {
            method.upper(): (getattr(cls, cls.direct_actions[action]), action in cls.direct_queries)
            for method, action in (actions or {}).items()
            if action in cls.direct_actions
        }

        def answer(request: HttpRequest, **arguments: str) -> bytes | None:
            method, reads_query = direct.get(request.method or "", (None, False))
            if method is None or not _is_plain(request, reads_query=reads_query):
                return None
            content: bytes | None = method(request, caller_of(request), **arguments)
            return content

        if direct:
            view.direct = answer
        return view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise_direct_error(request._request)
        super().initial(request, *args, **kwargs)


def _is_plain(request: HttpRequest, *, reads_query: bool) -> bool:
    if request.META.get("HTTP_ACCEPT", "") not in ANY_JSON:
        return False
    if request.META.get("QUERY_STRING") and not reads_query:
        return False
    return request.method == "GET" or (
        request.method == "POST" and request.content_type == "application/json"
    )
