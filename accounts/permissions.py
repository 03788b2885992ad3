"""What the credentials of a request allow, before it is known which project it is about.

What a user may *see* is decided by ``visible_to(user)`` on the querysets; what a user may *do* in a
project by their role there (projects/permissions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.grants import AnyUser, grant_of
from accounts.roles import Role
from core.exceptions import DomainError

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which loads this module

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class LimitedToProject(DomainError):
    """The token is for one project, and what was asked for is outside of it."""

    code = "permission_denied"
    status_code = 403


def script_run_of(user: AnyUser) -> str:
    """The id of the run whose script is calling with the run's token; empty for any other caller.
    Such a caller sees and does only what belongs to that run."""
    return grant_of(user).run_id


def sees_everything(user: AnyUser, *, role: Role = Role.VIEWER) -> bool:
    """Whether ``user`` has ``role`` for every row: views then skip the visibility query."""
    grant = grant_of(user)
    return (
        bool(getattr(user, "is_superuser", False))
        and not (grant.run_id or grant.project_id)
        and grant.highest_role >= max(role, grant.needed_role)
    )


def is_operator(user: User, permission: str) -> bool:
    """Whether ``user`` may do this where operators do: the same as in the admin."""
    is_limited = grant_of(user).highest_role < Role.OWNER
    return user.is_staff and not is_limited and user.has_perm(permission)


def sees_installation(user: User) -> bool:
    """Whether ``user`` is told of the installation as a whole, with the names of all projects:
    operators are, unless their token is limited to a project or run."""
    grant = grant_of(user)
    return (user.is_superuser or user.is_staff) and not (grant.run_id or grant.project_id)


def require_all_projects(user: AnyUser | None) -> None:
    """For what makes something that belongs to no project yet; None is TrainHub itself. Raises
    LimitedToProject."""
    project_id = "" if user is None else grant_of(user).project_id
    if project_id:
        raise LimitedToProject(
            _("This token is for the project %(project)s alone: it creates nothing outside of it.")
            % {"project": project_id}
        )


def refusal_of_script(run_id: str) -> str:
    return _("This token is for the run %(run)s alone: it allows nothing else.") % {"run": run_id}


def refusal_of_scope() -> str:
    return _("This token only reads.")


class MembersOnly(IsAuthenticated):
    """Any signed-in user or valid token; in open mode, any request (see accounts.open_mode).

    The script of a run may call what is below the run's own address, unless the view sets
    ``for_scripts`` to False. A token that only reads changes nothing.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        grant = grant_of(request.user)
        arguments: dict[str, Any] = view.kwargs
        if grant.run_id and not (
            grant.run_id in arguments.values() and getattr(view, "for_scripts", True)
        ):
            raise PermissionDenied(refusal_of_script(grant.run_id))
        if request.method not in SAFE_METHODS and grant.highest_role < Role.MEMBER:
            raise PermissionDenied(refusal_of_scope())
        return True
