from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from artifacts.models import Artifact, ArtifactTag, TagValue
from artifacts.registry import ModelVersion, RegisteredModel
from trainhub.admin import ReadOnlyAdmin, ReadOnlyInline, act_on_each


class TagActionForm(ActionForm):
    notes = forms.CharField(label=_("Notes of the tag:"), required=False, max_length=10_000)


class TagFilter(admin.SimpleListFilter):
    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value.value, value.label) for value in TagValue]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Artifact]) -> QuerySet[Artifact]:
        if self.value() not in TagValue.values:
            return queryset
        tagged = ArtifactTag.objects.filter(value=self.value()).values("artifact")
        return queryset.filter(pk__in=tagged)


class ArtifactTagInline(ReadOnlyInline):
    model = ArtifactTag
    fields = ("value", "notes", "applied_at", "applied_by")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArtifactTag]:
        return super().get_queryset(request).select_related("applied_by")


@admin.register(Artifact)
class ArtifactAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "type", "of_run", "step", "size", "tagged", "created_at")
    list_filter = ("type", TagFilter, "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "run__id__startswith",
        "proj_": "run__project__id__exact",
        **{f"{prefix}_": "pk__startswith" for prefix in ("ckpt", "log", "eval", "conf", "file")},
    }
    search_help_text = _("The id, or its beginning, of an artifact or run; a project's id.")
    inlines = (ArtifactTagInline,)
    action_form = TagActionForm
    actions = ("tag_candidate", "tag_released", "tag_archived")
    fields = (
        "id",
        "name",
        "type",
        "of_run",
        "step",
        "path",
        "size",
        "size_bytes",
        "sha256",
        "created_at",
        "updated_at",
    )

    def view_on_site(self, artifact: Artifact) -> str:
        return reverse("dashboard:run", args=[artifact.run.project_id, artifact.run_id])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Artifact]:
        return super().get_queryset(request).prefetch_related("tags")

    @admin.display(description=_("run"))
    def of_run(self, artifact: Artifact) -> SafeString:
        address = reverse("admin:runs_run_change", args=[artifact.run_id])
        return format_html('<a href="{}">{}</a>', address, artifact.run_id)

    @admin.display(description=_("size"))
    def size(self, artifact: Artifact) -> str:
        return filesizeformat(artifact.size_bytes)

    @admin.display(description=_("tags"))
    def tagged(self, artifact: Artifact) -> str:
        return ", ".join(tag.value for tag in artifact.tags.all())

    @admin.action(description=_("Tag as candidate"), permissions=["operate"])
    def tag_candidate(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.CANDIDATE)

    @admin.action(description=_("Tag as released"), permissions=["operate"])
    def tag_released(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.RELEASED)

    @admin.action(description=_("Tag as archived"), permissions=["operate"])
    def tag_archived(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.ARCHIVED)

    def _tag(self, request: HttpRequest, artifacts: QuerySet[Artifact], value: TagValue) -> None:
        assert request.user.is_authenticated
        by = request.user
        given = request.POST.get("notes", "").replace("\x00", "").strip()[:10_000]

        def tag(artifact: Artifact) -> None:
            # Without new notes, those that the tag has stay.
            had = [tag.notes for tag in artifact.tags.all() if tag.value == value]
            artifact.tag(value, notes=given or "".join(had), by=by)

        act_on_each(self, request, artifacts, tag, done=value.label)


class ModelVersionInline(ReadOnlyInline):
    model = ModelVersion
    fields = ("number", "stage", "aliased", "source", "description", "created_at", "created_by")
    readonly_fields = fields
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        versions = super().get_queryset(request).select_related("created_by")
        return versions.prefetch_related("aliases")

    @admin.display(description=_("aliases"))
    def aliased(self, version: ModelVersion) -> str:
        return _aliases_of(version)


@admin.register(RegisteredModel)
class RegisteredModelAdmin(ReadOnlyAdmin):
    list_display = ("name", "last_number", "description", "created_at", "created_by")
    list_select_related = ("created_by",)
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {"model_": "pk__startswith"}
    word_lookups = ("name__startswith",)
    search_help_text = _("The beginning of the id or of the name.")
    inlines = (ModelVersionInline,)
    fields = (
        "id",
        "name",
        "description",
        "tags",
        "last_number",
        "created_by",
        "created_at",
        "updated_at",
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("model", "number", "stage", "aliased", "of_run", "source", "created_at")
    list_select_related = ("model",)
    list_filter = ("stage", "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "model_": "model__id__exact",
        "run_": "run__id__exact",
        "ckpt_": "checkpoint__id__exact",
        "m-": "logged_model__id__exact",
    }
    word_lookups = ("model__name__startswith",)
    search_help_text = _(
        "The id of a model, run, checkpoint or logged model; the beginning of a model's name."
    )
    fields = (
        "model",
        "number",
        "stage",
        "aliased",
        "of_run",
        "checkpoint",
        "logged_model",
        "source",
        "location",
        "run_link",
        "description",
        "tags",
        "created_by",
        "created_at",
        "updated_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        return super().get_queryset(request).prefetch_related("aliases")

    @admin.display(description=_("aliases"))
    def aliased(self, version: ModelVersion) -> str:
        return _aliases_of(version)

    @admin.display(description=_("run"))
    def of_run(self, version: ModelVersion) -> SafeString | str:
        return _link_to_run(version.run_id) if version.run_id else ""


def _aliases_of(version: ModelVersion) -> str:
    return ", ".join(alias.alias for alias in version.aliases.all())


def _link_to_run(run_id: str) -> SafeString:
    address = reverse("admin:runs_run_change", args=[run_id])
    return format_html('<a href="{}">{}</a>', address, run_id)
