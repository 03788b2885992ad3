"""Who has which role in a project of their own, and which team owns it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.grants import AnyUser
from accounts.models import Team
from accounts.models.team import LastOwner
from accounts.roles import Role
from projects.access import role_in
from projects.models import Project, ProjectRole


def role_of(user: AnyUser, project: Project) -> Role:
    """For somebody who sees the project."""
    role = role_in(user, project.pk)
    assert role is not None
    return role


def give_role(project: Project, user: User, role: Role) -> ProjectRole:
    """Raises LastOwner."""
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        given, _created = locked.roles.update_or_create(user=user, defaults={"role": role})
        _check_owners(locked)
    return given


def take_role(project: Project, user: User) -> None:
    """Raises LastOwner."""
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        locked.roles.filter(user=user).delete()
        _check_owners(locked)


def give_to_team(project: Project, team: Team | None) -> None:
    """Raises LastOwner, TeamGone."""
    with transaction.atomic():
        if team is not None:
            team.lock()
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        locked.team = team
        locked.save(update_fields=["team", "updated_at"])
        _check_owners(locked)
    project.refresh_from_db()


def _check_owners(project: Project) -> None:
    """A team always has owners."""
    owners = project.roles.filter(role=Role.OWNER, user__is_active=True)
    if not (project.team_id or owners.exists()):
        raise LastOwner(_("A project needs an owner or a team: make somebody its owner first."))
