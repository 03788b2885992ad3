"""The form of a recipe, in the admin and on the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from projects.form_fields import JSONObjectField
from runs.form_fields import AddressesField, CommandField, EnvironmentField, SecretsField
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
    secrets = SecretsField(
        label=_("secrets to add or replace"),
        help_text=_(
            "Variables as above, one NAME=value per line. They are stored encrypted and never "
            "shown again; only trainings get their values."
        ),
    )
    removed_secrets = forms.MultipleChoiceField(
        label=_("secrets to remove"), required=False, widget=forms.CheckboxSelectMultiple
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
            "secrets",
            "removed_secrets",
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
        removed = self.fields["removed_secrets"]
        assert isinstance(removed, forms.MultipleChoiceField)
        removed.choices = [(name, name) for name in self.instance.secret_names]
        if not self.instance.encrypted_environment:
            removed.widget = forms.MultipleHiddenInput()

    def clean_nodes(self) -> int:
        return self.cleaned_data["nodes"] or 1

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        self.instance.remove_secrets(self.cleaned_data.get("removed_secrets", ()))
        self.instance.set_secrets(self.cleaned_data.get("secrets") or {})
        return cleaned

    def _update_errors(self, errors: forms.ValidationError) -> None:
        """Without what the model says of fields whose text was refused already."""
        for name in set(self.errors) & set(getattr(errors, "error_dict", {})):
            del errors.error_dict[name]
        super()._update_errors(errors)  # type: ignore[misc]  # the stubs do not have it
