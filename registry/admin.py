"""The admin of registered models and their versions."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from core.admin import ReadOnlyAdmin, ReadOnlyInline
from registry.models import ModelVersion, RegisteredModel
from runs.admin.links import run_link


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
    search_help_text = _("Search by the start of the ID or of the name.")
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
        "Search by model, run, checkpoint or logged model ID, or by the start of a model name."
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
        return run_link(version.run_id) if version.run_id else ""


def _aliases_of(version: ModelVersion) -> str:
    return ", ".join(alias.alias for alias in version.aliases.all())
