"""The admin of projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from core.admin import LargeTableAdmin, act_on_each
from core.exceptions import InvalidInput
from projects.form_fields import JSONObjectField, TagListField
from projects.hyperparameters import check_hyperparameters
from projects.models import Project, ProjectStatus

if TYPE_CHECKING:
    ProjectModelForm = forms.ModelForm[Project]
else:
    ProjectModelForm = forms.ModelForm


class ProjectAdminForm(ProjectModelForm):
    tags = TagListField(
        label=_("tags"), required=False, max_length=4000, help_text=_("Separate with commas.")
    )
    default_hyperparameters = JSONObjectField(label=_("default hyperparameters"))

    class Meta:
        model = Project
        fields = Project.CONFIGURATION

    def clean_default_hyperparameters(self) -> dict[str, Any]:
        try:
            return check_hyperparameters(self.cleaned_data["default_hyperparameters"])
        except InvalidInput as error:
            raise forms.ValidationError(str(error.message), code=error.code) from error


@admin.register(Project)
class ProjectAdmin(LargeTableAdmin):
    """Projects are archived, not deleted, because their runs are history."""

    form = ProjectAdminForm
    list_display = (
        "id",
        "name",
        "status",
        "owner",
        "task_type",
        "version",
        "run_count",
        "created_at",
    )
    list_display_links = ("id", "name")
    list_filter = ("status", "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {"proj_": "pk__startswith"}
    word_lookups = ("name__icontains",)
    search_help_text = _("An id or id prefix, or words from the name.")
    readonly_fields = (
        "id",
        "status",
        "version",
        "run_count",
        "created_at",
        "updated_at",
        "versions",
    )
    fieldsets = (
        (None, {"fields": ("id", "status", "version", "run_count", "created_at", "updated_at")}),
        (_("Configuration"), {"fields": Project.CONFIGURATION}),
        (_("History"), {"fields": ("versions",)}),
    )
    actions = ("archive", "reopen")

    def view_on_site(self, project: Project) -> str:
        return reverse("dashboard:project", args=[project.pk])

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: Project, form: forms.ModelForm[Project], change: bool
    ) -> None:
        """Record each change as a new version by the current user."""
        assert request.user.is_authenticated
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            obj.revise(changes, by=request.user)
        else:
            obj._history_user = request.user  # type: ignore[attr-defined]
            super().save_model(request, obj, form, change)

    @admin.display(description=_("versions"))
    def versions(self, project: Project) -> SafeString:
        return format_html_join(
            "",
            "<div>{} · {} · {} · {}</div>",
            (
                (
                    version.number,
                    version.created_at.strftime("%Y-%m-%d %H:%M:%SZ"),
                    version.changed_by or "-",
                    "; ".join(f"{c.field}: {c.old!r} → {c.new!r}" for c in version.changes),
                )
                for version in project.versions()
            ),
        )

    @admin.action(description=_("Archive"), permissions=["change"])
    def archive(self, request: HttpRequest, projects: QuerySet[Project]) -> None:
        self._set_status(request, projects, ProjectStatus.ARCHIVED)

    @admin.action(description=_("Reopen"), permissions=["change"])
    def reopen(self, request: HttpRequest, projects: QuerySet[Project]) -> None:
        self._set_status(request, projects, ProjectStatus.ACTIVE)

    def _set_status(
        self, request: HttpRequest, projects: QuerySet[Project], to: ProjectStatus
    ) -> None:
        def change(project: Project) -> None:
            if project.status == to:
                return
            project.set_status(to)
            # A status change is not a new version: record it in the admin log instead.
            self.log_change(request, project, [{"changed": {"fields": [str(_("status"))]}}])

        act_on_each(self, request, projects, change, done=to.label)
