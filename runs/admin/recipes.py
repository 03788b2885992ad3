"""The admin of recipes, where operators write commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import LargeTableAdmin
from projects.form_fields import JSONObjectField
from runs.form_fields import CommandField, EnvironmentField
from runs.models import Recipe

if TYPE_CHECKING:
    RecipeModelForm = forms.ModelForm[Recipe]
else:
    RecipeModelForm = forms.ModelForm


class RecipeForm(RecipeModelForm):
    command = CommandField(
        label=_("command"), help_text=Recipe._meta.get_field("command").help_text
    )
    environment = EnvironmentField(
        label=_("environment"), help_text=Recipe._meta.get_field("environment").help_text
    )
    default_hyperparameters = JSONObjectField(label=_("default hyperparameters"))

    class Meta:
        model = Recipe
        fields = (
            "name",
            "description",
            "executor",
            "command",
            "environment",
            "encoding",
            "read_tensorboard",
            "default_hyperparameters",
            "gpu_type",
            "gpu_count",
            "stop_grace_seconds",
            "stall_silence_seconds",
            "stall_step_seconds",
            "stall_action",
            "max_restarts",
            "is_default",
            "enabled",
        )


@admin.register(Recipe)
class RecipeAdmin(LargeTableAdmin):
    """A user who can change a recipe can run any program on the workers."""

    form = RecipeForm
    list_display = (
        "name",
        "description",
        "executor",
        "gpu_type",
        "gpu_count",
        "is_default",
        "enabled",
    )
    list_filter = ("executor", "enabled")
    ordering = ("name",)
    word_lookups = ("name__icontains", "description__icontains")

    def get_readonly_fields(self, request: HttpRequest, obj: Recipe | None = None) -> Any:
        return ("name",) if obj is not None else ()  # the name is the key: runs refer to it

    def has_delete_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        """Never in bulk, and never a recipe that has runs: disable it instead."""
        if obj is None or obj.pk is None:
            return False
        return super().has_delete_permission(request, obj) and not obj.run_set.exists()
