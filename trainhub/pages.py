"""What the pages of every app share."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django import forms
from django.contrib.auth.models import User
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from trainhub.exceptions import DomainError

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Model)

INVALID_FORM = 422  # the form again, with what is wrong in it (RFC 9110 §15.5.21)
STOP_POLLING = 286  # htmx: take this, and ask no more


class PageRequest(HttpRequest):
    """A request as it reaches a page: somebody is signed in (LoginRequiredMiddleware)."""

    user: User
    htmx: HtmxDetails


def attempt(
    form: forms.BaseForm, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """What ``action`` returns; None if the rules refuse it, and then ``form`` says why.

    So that what somebody typed is still there to be corrected.
    """
    try:
        return action(*args, **kwargs)
    except DomainError as error:
        form.add_error(error.attr if error.attr in form.fields else None, str(error.message))
        return None


def page_of(request: HttpRequest, rows: QuerySet[M, Any], size: int) -> Page[M]:
    """The page that ``?page=`` asks for; the nearest there is if it asks for nonsense."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def whole_number(text: str | None, default: int) -> int:
    """A number from the address, 0 … 10^18; ``default`` for anything else."""
    if text and text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    return default
