"""The form of a recipe, in the admin and on the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from projects.form_fields import JSONObjectField
from runs.form_fields import AddressesField, CommandField, EnvironmentField
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
    engine_options = JSONObjectField(
        label=_("options of its cluster"),
        help_text=Recipe._meta.get_field("engine_options").help_text,
    )
    default_hyperparameters = JSONObjectField(label=_("default hyperparameters"))
    git_urls = AddressesField(
        label=_("Git repositories"), help_text=Recipe._meta.get_field("git_urls").help_text
    )

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
            "kind",
            "preemptible",
            "nodes",
            "cpus_per_node",
            "memory_gb_per_node",
            "time_limit_seconds",
            "engine_options",
            "stop_grace_seconds",
            "stall_silence_seconds",
            "stall_step_seconds",
            "stall_action",
            "max_restarts",
            "code",
            "code_from",
            "git_urls",
            "is_default",
            "enabled",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["nodes"].required = False

    def clean_nodes(self) -> int:
        return self.cleaned_data["nodes"] or 1

    def _update_errors(self, errors: forms.ValidationError) -> None:
        """Without what the model says of fields whose text was refused already."""
        for name in set(self.errors) & set(getattr(errors, "error_dict", {})):
            del errors.error_dict[name]
        super()._update_errors(errors)  # type: ignore[misc]  # the stubs do not have it
