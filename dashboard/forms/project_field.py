"""A field to choose a project in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib.auth.models import User
from django.core.validators import ProhibitNullCharactersValidator

from accounts.roles import Role
from core.ids import MAX_LENGTH
from projects.models import Project, ProjectStatus

if TYPE_CHECKING:
    ProjectChoiceField = forms.ModelChoiceField[Project]  # generic only for type checkers
else:
    ProjectChoiceField = forms.ModelChoiceField

PROJECTS_OFFERED: Final = 200


class ProjectField(ProjectChoiceField):
    """A choice of the newest projects that the reader sees, and of the one that is chosen."""

    def to_python(self, value: Any) -> Project | None:
        ProhibitNullCharactersValidator()(value)  # PostgreSQL rejects them in queries
        return super().to_python(value)

    def offer(
        self,
        chosen: str,
        reader: User,
        *,
        role: Role = Role.VIEWER,
        exclude: ProjectStatus | None = None,
    ) -> None:
        """``role``: that the reader has in them."""
        visible = Project.objects.visible_to(reader, role=role)
        projects = visible.exclude(status=exclude) if exclude else visible
        newest = projects.order_by("-created_at", "id").values("pk")[:PROJECTS_OFFERED]
        pks = {row["pk"] for row in newest} | {chosen.replace("\x00", "")[:MAX_LENGTH]}
        self.queryset = visible.filter(pk__in=pks).order_by("name", "pk")
