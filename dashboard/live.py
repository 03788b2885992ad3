"""Live fragments: static/js/live.js asks for one again and again, and gets it when it has changed.

See RFC 9110, section 13.1.2 (If-None-Match).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Concatenate, ParamSpec

from django.http import HttpResponse
from django.utils.translation import get_language
from django.views.decorators.http import condition

from dashboard.pages import PageRequest

P = ParamSpec("P")
View = Callable[Concatenate[PageRequest, P], HttpResponse]
Version = Callable[Concatenate[PageRequest, P], str]

clock: Callable[[], float] = time.time


def moment(seconds: float) -> int:
    """Changes every ``seconds``: part of the version of what changes as time passes."""
    return int(clock() / seconds)


def live(version: Version[P]) -> Callable[[View[P]], View[P]]:
    """Answer 304 while ``version(request, …)``, called with the view's arguments, is the same for
    this caller. It must be cheap; it may raise Http404."""

    def etag(request: PageRequest, /, *args: Any, **kwargs: Any) -> str:
        parts = (version(request, *args, **kwargs), request.user.pk, get_language())
        return f'W/"{blake2b(repr(parts).encode(), digest_size=9).hexdigest()}"'

    decorated: Callable[[View[P]], View[P]] = condition(etag_func=etag)
    return decorated
