"""The admin of recipes, where operators write commands."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from core.admin import LargeTableAdmin
from runs.models import Recipe
from runs.recipe_form import RecipeForm


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
