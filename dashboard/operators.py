"""Views for operators, the same people as in the admin, and what only they see."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.urls import reverse

from accounts.permissions import is_operator
from dashboard.pages import PageRequest

View: TypeAlias = Callable[..., HttpResponse]


def sees_commands(request: PageRequest) -> bool:
    """Whether pages show the reader what recipes run: to those who may change recipes and have
    signed in with a password, in open mode too.

    Commands may name hosts and hold tokens, and open mode lets in every program on this machine.
    The values of environment variables are for nobody: pages show their names.
    """
    return is_signed_in(request) and is_operator(request.user, "runs.change_recipe")


def is_signed_in(request: PageRequest) -> bool:
    """Whether the reader has given a password, which open mode does not ask for."""
    return SESSION_KEY in request.session


def operators_only(*permissions: str, signed_in: bool = False) -> Callable[[View], View]:
    """Refuse everybody who has none of ``permissions`` in the admin.

    ``signed_in``: with a password, in open mode too, as in the admin. A recipe is a command that
    runs on this machine, and open mode lets in every program on it.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if signed_in and not is_signed_in(request):
                return redirect_to_login(request.path, reverse("admin:login"))
            if not any(is_operator(request.user, permission) for permission in permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate
