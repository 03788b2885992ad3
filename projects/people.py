"""Which people a reader knows: those with whom they share a team or a project."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from accounts.grants import AnyUser
from accounts.models import Team, TeamMembership
from accounts.permissions import sees_everything
from projects.models import Project, ProjectRole


def known_to(user: AnyUser) -> QuerySet[User]:
    if sees_everything(user):
        return User.objects.all()
    projects = Project.objects.visible_to(user)
    together = Q(team__in=Team.objects.visible_to(user)) | Q(team__projects__in=projects)
    members = TeamMembership.objects.filter(together).values("user")
    with_roles = ProjectRole.objects.filter(project__in=projects).values("user")
    return User.objects.filter(Q(pk=user.pk) | Q(pk__in=members) | Q(pk__in=with_roles))
