"""Forms of recipes on the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from accounts.roles import Role
from dashboard.forms.project_field import ProjectField
from projects.models import Project, ProjectStatus
from runs.recipe_form import RecipeForm


class RecipePageForm(RecipeForm):
    """A recipe that is new or changed. The name of one that exists stays: runs refer to it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["name"].disabled = True

    @property
    def arguments(self) -> list[str]:
        """The command as it is understood; empty if it is not."""
        if self.is_bound:
            understood: list[str] = getattr(self, "cleaned_data", {}).get("command") or []
            return understood
        return self.instance.command


class TestRunForm(forms.Form):
    project = ProjectField(
        label=_("project"),
        queryset=Project.objects.none(),
        empty_label=_("Choose a project"),
    )

    def __init__(self, reader: User, data: Any = None) -> None:
        super().__init__(data)
        projects = self.fields["project"]
        assert isinstance(projects, ProjectField)
        chosen = (data or {}).get("project", "")
        projects.offer(chosen, reader, role=Role.MEMBER, exclude=ProjectStatus.ARCHIVED)
