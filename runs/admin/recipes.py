"""The admin of recipes, where operators write commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import LargeTableAdmin
from core.exceptions import InvalidInput
from projects.form_fields import JSONObjectField
from projects.hyperparameters import check_hyperparameters
from runs.models import ExecutorName, Recipe
from runs.models.encoding import DEFAULT_ENCODING

if TYPE_CHECKING:
    RecipeModelForm = forms.ModelForm[Recipe]
else:
    RecipeModelForm = forms.ModelForm

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class CommandField(SimpleArrayField):
    """One argument per line, unchanged: arguments may contain commas and spaces."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 6, "cols": 80, "spellcheck": "false"})
        argument = forms.CharField(max_length=1000, strip=False)
        super().__init__(argument, delimiter="\n", widget=widget, required=False, **kwargs)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace("\r\n", "\n").strip("\n")
        return super().to_python(value)


class RecipeForm(RecipeModelForm):
    command = CommandField(
        label=_("command"), help_text=Recipe._meta.get_field("command").help_text
    )
    environment = JSONObjectField(label=_("environment"))
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

    def clean_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = self.cleaned_data["environment"]
        for name, value in environment.items():
            if not ENVIRONMENT_NAME.fullmatch(name) or "\x00" in str(value):
                raise forms.ValidationError(
                    _("Invalid environment variable %(name)s."), params={"name": repr(name)}
                )
        return environment

    def clean_encoding(self) -> str:
        return self.cleaned_data["encoding"] or DEFAULT_ENCODING

    def clean_default_hyperparameters(self) -> dict[str, Any]:
        try:
            return check_hyperparameters(self.cleaned_data["default_hyperparameters"])
        except InvalidInput as error:
            raise forms.ValidationError(str(error.message), code=error.code) from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("executor") == ExecutorName.PROCESS and cleaned.get("command") == []:
            self.add_error("command", _("A process needs a command."))
        if cleaned.get("is_default"):
            other = Recipe.objects.filter(is_default=True).exclude(pk=self.instance.pk).first()
            if other is not None:
                message = _("%(name)s is the default recipe: clear its default flag first.")
                self.add_error(
                    "is_default", forms.ValidationError(message, params={"name": other.pk})
                )
            if cleaned.get("enabled") is False:
                self.add_error("enabled", _("The default recipe must be enabled."))
        return cleaned


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
