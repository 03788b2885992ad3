"""A field to choose a project in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.validators import ProhibitNullCharactersValidator

from core.ids import MAX_LENGTH
from projects.models import Project, ProjectStatus

if TYPE_CHECKING:
    ProjectChoiceField = forms.ModelChoiceField[Project]  # generic only for type checkers
else:
    ProjectChoiceField = forms.ModelChoiceField

PROJECTS_OFFERED: Final = 200


class ProjectField(ProjectChoiceField):
    """A choice of the newest projects, and of the one that is chosen."""

    def to_python(self, value: Any) -> Project | None:
        ProhibitNullCharactersValidator()(value)  # PostgreSQL rejects them in queries
        return super().to_python(value)

    def offer(self, chosen: str, *, exclude: ProjectStatus | None = None) -> None:
        projects = Project.objects.exclude(status=exclude) if exclude else Project.objects.all()
        newest = projects.order_by("-created_at", "id").values("pk")[:PROJECTS_OFFERED]
        pks = {row["pk"] for row in newest} | {chosen.replace("\x00", "")[:MAX_LENGTH]}
        self.queryset = Project.objects.filter(pk__in=pks).order_by("name", "pk")
