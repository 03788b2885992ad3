"""Forms for runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from django.utils.translation import gettext_lazy as _

from core.text import MAX_NAME_LENGTH
from dashboard.forms.projects import HyperparametersForm
from projects.hyperparameters import from_texts
from projects.models import Project
from runs.models import MAX_DATASET_LENGTH, MAX_GPUS, Recipe, Run
from runs.resources import MAX_NODES, MAX_TIME_LIMIT_SECONDS, MIN_TIME_LIMIT_SECONDS

if TYPE_CHECKING:
    RecipeChoiceField = forms.ModelChoiceField[Recipe]  # generic only for type checkers
else:
    RecipeChoiceField = forms.ModelChoiceField


class RecipeField(RecipeChoiceField):
    def to_python(self, value: Any) -> Recipe | None:
        ProhibitNullCharactersValidator()(value)  # PostgreSQL rejects them in queries
        return super().to_python(value)


class RunForm(HyperparametersForm):
    """A new run. Empty fields use the values of the project, the recipe, or the resumed run.

    actions.create_run and resume_run accept ``configuration``.
    """

    name = forms.CharField(label=_("name"), required=False, max_length=MAX_NAME_LENGTH)
    model = forms.CharField(label=_("model"), required=False, max_length=MAX_NAME_LENGTH)
    dataset = forms.CharField(label=_("dataset"), required=False, max_length=MAX_DATASET_LENGTH)
    recipe = RecipeField(
        label=_("recipe"),
        queryset=Recipe.objects.filter(enabled=True),
        required=False,
        empty_label=_("default recipe"),
        help_text=_("Defines how the model is trained. Operators manage recipes."),
    )
    gpu_type = forms.CharField(
        label=_("GPU type"),
        required=False,
        max_length=64,
        validators=[RegexValidator(r"\A[\w.\- ]*\Z")],
    )
    gpu_count = forms.IntegerField(label=_("GPUs"), required=False, min_value=0, max_value=MAX_GPUS)
    nodes = forms.IntegerField(label=_("nodes"), required=False, min_value=1, max_value=MAX_NODES)
    time_limit_seconds = forms.IntegerField(
        label=_("time limit (s)"),
        required=False,
        min_value=MIN_TIME_LIMIT_SECONDS,
        max_value=MAX_TIME_LIMIT_SECONDS,
    )
    priority = forms.IntegerField(
        label=_("priority"),
        required=False,
        min_value=-100,
        max_value=100,
        help_text=_("Higher runs first. Default: 0."),
    )

    def suggest_project(self, project: Project) -> None:
        """Show as placeholders what a new run of ``project`` uses for empty fields."""
        self._suggest(name=f"run-{project.run_count + 1:03d}", model=project.base_model, priority=0)
        self.suggest(project.default_hyperparameters)

    def suggest_source(self, source: Run) -> None:
        """Show as placeholders what a run resumed from ``source`` uses for empty fields."""
        self._suggest(
            name=f"run-{source.project.run_count + 1:03d}",
            model=source.model,
            dataset=source.dataset,
            gpu_type=source.gpu_type,
            gpu_count=source.gpu_count,
            nodes=source.nodes,
            time_limit_seconds=source.time_limit_seconds or "",
            priority=source.priority,
        )
        recipe = self.fields["recipe"]
        assert isinstance(recipe, forms.ModelChoiceField)
        recipe.empty_label = source.recipe_id
        recipe.required = source.is_unmanaged  # it has no recipe to reuse
        self.suggest(source.hyperparameters)

    def fill_in(self, source: Run) -> None:
        """Start with the configuration of ``source``, to run it again: its hyperparameters are
        those it was given, not what its script has reported since."""
        hyperparameters = source.configured_hyperparameters
        if source.is_unmanaged:
            hyperparameters = from_texts(hyperparameters)
        numbered = re.fullmatch(r"run-\d+", source.name)
        self.initial.update(
            {
                **self.split(hyperparameters),
                "name": "" if numbered else source.name,
                "model": source.model,
                "dataset": source.dataset,
                "recipe": source.recipe_id,
                "gpu_type": source.gpu_type,
                "gpu_count": source.gpu_count,
                "nodes": source.nodes,
                "time_limit_seconds": source.time_limit_seconds,
                "priority": source.priority,
            }
        )

    def _suggest(self, **values: Any) -> None:
        for name, value in values.items():
            self.fields[name].widget.attrs["placeholder"] = str(value)

    @property
    def configuration(self) -> dict[str, Any]:
        values = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        fields = (
            *("name", "model", "dataset", "recipe", "priority", "time_limit_seconds"),
            "hyperparameters",
        )
        resources = {
            name: values[name] for name in ("gpu_type", "gpu_count", "nodes") if name in values
        }
        return {
            **{name: values[name] for name in fields if name in values},
            "resources": resources,
        }
