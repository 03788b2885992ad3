"""The role of a caller in a project."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection
from django.http import Http404
from django.utils.translation import gettext as _

from accounts.grants import AnyUser, Grant, grant_of
from accounts.permissions import script_run_of
from accounts.roles import Role
from core.database import Statement
from core.exceptions import DomainError
from projects.models import Project

MOST_REMEMBERED: Final = 50_000  # roles

ROLE: Final = Statement("""
SELECT greatest(
    (SELECT role FROM projects_projectrole
     WHERE project_id = project.id AND user_id = %(user)s::int8),
    (SELECT role FROM accounts_teammembership
     WHERE team_id = project.team_id AND user_id = %(user)s::int8)
)
FROM projects_project AS project WHERE project.id = %(project_id)s::text
""")


class RoleNeeded(DomainError):
    """The caller sees the project, and may not do this in it."""

    code = "permission_denied"
    status_code = 403


class _Remembered:
    """Roles as of one number of AccessVersion. A request with a token learns the number when it
    looks its token up, so that what is remembered costs it no statement and is never out of date.

    The number is part of the key: a thread that is late puts its role where no newer request looks.
    """

    def __init__(self) -> None:
        self._version = -1
        self._roles: dict[tuple[int, int, str], Role] = {}

    def get(self, version: int, user: int, project_id: str) -> Role | None:
        return self._roles.get((version, user, project_id))

    def put(self, version: int, user: int, project_id: str, role: Role) -> None:
        if version != self._version or len(self._roles) >= MOST_REMEMBERED:
            self._roles, self._version = {}, version
        self._roles[version, user, project_id] = role


_remembered = _Remembered()


def role_in(user: AnyUser, project_id: str) -> Role | None:
    """What ``user`` is in the project, as far as their credentials allow; None for a stranger, who
    learns nothing of the project, not even that it exists. For superusers it need not exist."""
    grant = grant_of(user)
    if not user.is_authenticated or grant.project_id not in {"", project_id}:
        return None
    if grant.run_id:
        visible = Project.objects.visible_to(user).filter(pk=project_id)
        return Role.MEMBER if visible.exists() else None
    role = Role.OWNER if getattr(user, "is_superuser", False) else _role(grant, user.pk, project_id)
    return None if role is None else min(role, grant.highest_role)


def _role(grant: Grant, user: Any, project_id: str) -> Role | None:
    version = grant.access_version
    if version is None or connection.in_atomic_block:  # which may see changes of its own
        return _stored_role(user, project_id)
    role = _remembered.get(version, user, project_id)
    if role is None:
        role = _stored_role(user, project_id)
        if role is not None:
            _remembered.put(version, user, project_id, role)
    return role


def _stored_role(user: int, project_id: str) -> Role | None:
    row = ROLE.row(user=user, project_id=project_id)
    return None if row is None or row[0] is None else Role(row[0])


def may(user: AnyUser, project_id: str, role: Role = Role.VIEWER) -> bool:
    """Whether ``user`` has ``role``, or a higher one, in the project."""
    found = role_in(user, project_id)
    return found is not None and found >= role


def may_directly(user: AnyUser, project_id: str, role: Role) -> bool:
    """The same for answers ahead of DRF (accounts/direct_answers.py), except that a script is left
    to DRF: it may see the project and still only its own run."""
    return not script_run_of(user) and may(user, project_id, role)


def visible_project(user: AnyUser, project_id: str) -> Project:
    """The project, if it is visible to ``user``: by their role in it, which is remembered, instead
    of a condition. Raises Http404."""
    found = None
    if may(user, project_id, grant_of(user).needed_role):
        found = Project.objects.filter(pk=project_id).first()
    if found is None:
        raise Http404(_("There is no such project."))
    return found


def require(user: AnyUser, project_id: str, role: Role) -> None:
    """For a project that ``user`` sees: raises RoleNeeded."""
    if not may(user, project_id, role):
        raise RoleNeeded(refusal_of_role(role))


def require_of(user: User | None, project_id: str, role: Role) -> None:
    """The same for actions; None is TrainHub itself."""
    if user is not None:
        require(user, project_id, role)


def refusal_of_role(role: Role) -> str:
    return _("This needs the role %(role)s in the project.") % {"role": role.label}
