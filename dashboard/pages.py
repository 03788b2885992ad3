"""Helpers shared by all page views."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django import forms
from django.contrib.auth.models import User
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from core.exceptions import DomainError

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Model)

INVALID_FORM = 422  # the form is shown again with its errors (RFC 9110 §15.5.21)
STOP_POLLING = 286  # static/js/live.js shows this answer and asks no more


class PageRequest(HttpRequest):
    """A request to a page. The user is signed in (LoginRequiredMiddleware)."""

    user: User


def attempt(
    form: forms.BaseForm, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """Return the result of ``action``, or None if it raised a DomainError.

    ``form`` then shows the error and keeps the user's input, so that they can correct it.
    """
    try:
        return action(*args, **kwargs)
    except DomainError as error:
        form.add_error(_field_of(form, error.attr), str(error.message))
        return None


def sent(request: HttpRequest) -> tuple[Any, Any]:
    """The data and files of a form, if the request sends it."""
    return (request.POST, request.FILES) if request.method == "POST" else (None, None)


def _field_of(form: forms.BaseForm, attr: str | None) -> str | None:
    """The field that shows what is wrong with ``attr``: of resources.gpu_type, gpu_type; of code,
    that of the form which brings it. None: above the form."""
    name = (attr or "").rpartition(".")[2]
    if name == "code":
        return getattr(form, "code_field", None)
    return name if name in form.fields else None


def page_of(request: HttpRequest, rows: QuerySet[M, Any], size: int) -> Page[M]:
    """Return the page given by ``?page=``, or the nearest existing one if it is invalid."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def whole_number(text: str | None, default: int) -> int:
    """Parse a query parameter of at most 18 digits; return ``default`` for anything else."""
    if text and text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    return default
