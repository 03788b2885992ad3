"""What a caller may do in a project: one rule for the API and for pages.

Whoever has no role in the project gets 404 for whatever is below its address, whether it exists or
not. Whoever has too low a role gets 403. The rule for MLflow's protocol, whose addresses name no
project, is in tracking/protocol.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.grants import AnyUser
from accounts.permissions import SAFE_METHODS, MembersOnly
from accounts.roles import Role
from projects.access import refusal_of_role, role_in

if TYPE_CHECKING:
    from rest_framework.views import APIView

    V = TypeVar("V", bound=Callable[..., Any])

PROJECT: Final = "project_id"  # the name of the project's id among the arguments of an address


def default_role(method: str | None) -> Role:
    return Role.VIEWER if method in SAFE_METHODS else Role.MEMBER


def check_role(user: AnyUser, project_id: str, needed: Role) -> Role:
    """The caller's role. Raises Http404 for a stranger, PermissionDenied for too low a role."""
    role = role_in(user, project_id)
    if role is None:
        raise Http404
    if role < needed:
        raise PermissionDenied(refusal_of_role(needed))
    return role


class ByRole(MembersOnly):
    """Readers need to be viewers of the project, others members, unless the view's ``roles`` names
    another role for an action or method. ``project_argument``: the argument with its id."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        project_id = view.kwargs.get(getattr(view, "project_argument", PROJECT))
        if project_id is not None:
            check_role(request.user, project_id, _needed(request, view))
        return True


def _needed(request: Request, view: APIView) -> Role:
    roles: Mapping[str, Role] = getattr(view, "roles", {})
    action = getattr(view, "action", None) or (request.method or "").lower()
    return roles.get(action, default_role(request.method))


def requires(role: Role) -> Callable[[V], V]:
    """Decorate a page's view: who may open it. The outermost decorator."""

    def decorate(view: V) -> V:
        view.required_role = role  # type: ignore[attr-defined]
        return view

    return decorate
