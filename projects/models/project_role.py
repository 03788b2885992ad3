"""The roles that users have in a project of their own, not by its team."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.roles import Role


class ProjectRole(models.Model):
    """What a user is in a project, whether or not they are in its team: the higher role counts."""

    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="roles", verbose_name=_("project")
    )
    user = models.ForeignKey(
        User, models.CASCADE, related_name="project_roles", verbose_name=_("user")
    )
    role = models.PositiveSmallIntegerField(_("role"), choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("project role")
        verbose_name_plural = _("project roles")
        ordering = ("project", "-role", "user__username")
        constraints = (
            models.UniqueConstraint(name="projectrole_once", fields=["project", "user"]),
            models.CheckConstraint(
                name="projectrole_role_known", condition=models.Q(role__in=Role.values)
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} · {self.project}"
