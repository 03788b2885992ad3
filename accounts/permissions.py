"""Permissions. One class for now; roles and teams belong here.

What a user may *see* is decided by ``visible_to(user)`` on the querysets; what a user may *do* is
decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which loads this module


def script_run_of(user: AbstractBaseUser | AnonymousUser) -> str:
    """The id of the run whose script is calling with the run's token; empty for any other caller.
    Such a caller sees and does only what belongs to that run."""
    run_id: str = getattr(user, "script_run_id", "")
    return run_id


def sees_everything(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether ``user`` can see every row, in which case views skip the visibility query. True for
    every signed-in user until there are teams, except scripts."""
    return user.is_authenticated and not script_run_of(user)


def is_operator(user: User, permission: str) -> bool:
    """Whether ``user`` may do this where operators do: the same as in the admin."""
    return user.is_staff and user.has_perm(permission)


def refusal_of_script(run_id: str) -> str:
    return _("This token is for the run %(run)s alone: it allows nothing else.") % {"run": run_id}


class MembersOnly(IsAuthenticated):
    """Any signed-in user or valid token; in open mode, any request (see accounts.open_mode).

    The script of a run may call what is below the run's own address, unless the view sets
    ``for_scripts`` to False.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        run_id = script_run_of(request.user)
        arguments: dict[str, Any] = view.kwargs
        if run_id and not (run_id in arguments.values() and getattr(view, "for_scripts", True)):
            raise PermissionDenied(refusal_of_script(run_id))
        return True
