"""Forms of which checkpoints a project keeps, of the removal of one, and of the use of storage."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from artifacts.storage_use_queries import StorageGrouping
from core.text import MAX_KEY_LENGTH
from dashboard.forms.project_field import ProjectField
from projects.models import Project
from registry.checkpoint_policy import MAX_KEPT, MAX_STEPS, CheckpointPolicy
from registry.checkpoint_retention import Mode


class RetentionForm(forms.Form):
    """The rules of a policy; empty numbers are 0."""

    best = forms.IntegerField(
        label=_("keep the best"), min_value=0, max_value=MAX_KEPT, required=False
    )
    metric = forms.CharField(
        label=_("by the metric"),
        required=False,
        max_length=MAX_KEY_LENGTH,
        help_text=_("Of evaluations, else of the training at the checkpoint's step."),
    )
    mode = forms.ChoiceField(label=_("best value"), choices=Mode.choices)
    last = forms.IntegerField(
        label=_("keep the last"), min_value=0, max_value=MAX_KEPT, required=False
    )
    every = forms.IntegerField(
        label=_("keep one every so many steps"),
        min_value=0,
        max_value=MAX_STEPS,
        required=False,
        help_text=_("Those at steps that are multiples of it."),
    )

    @property
    def rules(self) -> dict[str, Any]:
        """Of a valid form."""
        given = self.cleaned_data
        numbers = {name: given[name] or 0 for name in ("best", "last", "every")}
        return {"metric": given["metric"], "mode": given["mode"], **numbers}


def initial_of(policy: CheckpointPolicy | None) -> dict[str, Any]:
    """What RetentionForm shows of ``policy``."""
    if policy is None:
        return {}
    return {
        "metric": policy.metric,
        "mode": policy.mode,
        "best": policy.best or None,
        "last": policy.last or None,
        "every": policy.every or None,
    }


class RemovalForm(forms.Form):
    notes = forms.CharField(
        label=_("notes"),
        max_length=10_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class EmptyTrashForm(forms.Form):
    trashed_until = forms.DateTimeField(label=_("moved to the trash at"))


class StorageForm(forms.Form):
    """Invalid query parameters are shown as such, and do not filter."""

    by = forms.ChoiceField(label=_("group by"), required=False, choices=StorageGrouping.choices)
    project = ProjectField(
        label=_("project"), required=False, queryset=Project.objects.none(), empty_label=_("All")
    )

    def __init__(self, data: QueryDict, reader: User) -> None:
        super().__init__({"by": StorageGrouping.PROJECT, **data.dict()})
        projects = self.fields["project"]
        assert isinstance(projects, ProjectField)
        projects.offer(data.get("project", ""), reader)
        self.full_clean()

    @property
    def by_what(self) -> StorageGrouping:
        return StorageGrouping(self.cleaned_data.get("by") or StorageGrouping.PROJECT)

    @property
    def chosen_project(self) -> Project | None:
        return self.cleaned_data.get("project")
