"""Forms for runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django import forms
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from django.utils.translation import gettext_lazy as _

from core.text import MAX_NAME_LENGTH
from dashboard.forms.code import CodeForm
from dashboard.forms.gpu_types import GpuTypeSelect, offered_types
from dashboard.forms.projects import HyperparametersForm
from dashboard.pages import attempt
from projects.hyperparameters import from_texts
from projects.models import Project
from runs.models import MAX_DATASET_LENGTH, MAX_GPUS, CodePolicy, Recipe, Run
from runs.resources import MAX_NODES, MAX_TIME_LIMIT_SECONDS, MIN_TIME_LIMIT_SECONDS

if TYPE_CHECKING:
    RecipeChoiceField = forms.ModelChoiceField[Recipe]  # generic only for type checkers
else:
    RecipeChoiceField = forms.ModelChoiceField


T = TypeVar("T")
YES: Final = "yes"
NO: Final = "no"


class RecipeField(RecipeChoiceField):
    def to_python(self, value: Any) -> Recipe | None:
        ProhibitNullCharactersValidator()(value)  # PostgreSQL rejects them in queries
        return super().to_python(value)


class RecipeSelect(forms.Select):
    """Each option says which executor the recipe has, whether it takes code from the reader, and
    from which repositories, for static/js/run-form.js."""

    recipe_of_empty: Recipe | None = None  # that is used if none is chosen
    takes_code: Collection[str] = ()  # names

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        recipe = getattr(value, "instance", None) or self.recipe_of_empty
        if recipe is not None:
            takes_code = recipe.pk in self.takes_code
            option["attrs"] |= {
                "data-executor": recipe.executor,
                "data-code": recipe.code if takes_code else CodePolicy.NONE.value,
                "data-repositories": " ".join(recipe.git_urls),
            }
        return option


class RunForm(CodeForm, HyperparametersForm):
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
        widget=RecipeSelect,
        empty_label=_("default recipe"),
        help_text=_("Defines how the model is trained. Operators manage recipes."),
    )
    gpu_type = forms.CharField(
        label=_("GPU type"),
        required=False,
        max_length=64,
        validators=[RegexValidator(r"\A[\w.\- ]*\Z")],
    )
    gpu_count = forms.IntegerField(
        label=_("GPUs"),
        required=False,
        min_value=0,
        max_value=MAX_GPUS,
        help_text=_("Of all nodes together."),
    )
    nodes = forms.IntegerField(
        label=_("nodes"),
        required=False,
        min_value=1,
        max_value=MAX_NODES,
        help_text=_("Several only on a cluster: Slurm or Ray."),
    )
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
    preemptible = forms.TypedChoiceField(
        label=_("preemptible"),
        required=False,
        choices=[("", _("as the recipe says")), (YES, _("yes")), (NO, _("no"))],
        coerce=lambda value: value == YES,
        empty_value=None,
        help_text=_("Gives up its GPUs, with a checkpoint, to runs of a higher priority."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recipes.takes_code = self.takes_code
        self._recipes.recipe_of_empty = Recipe.objects.filter(is_default=True, enabled=True).first()
        if types := offered_types():
            self.fields["gpu_type"].widget = GpuTypeSelect(types)

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
        self._recipes.recipe_of_empty = source.recipe
        self._keep(source)
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
                "preemptible": _own_preemptible(source),
            }
        )
        gpu_type = self.fields["gpu_type"].widget
        if isinstance(gpu_type, GpuTypeSelect):
            gpu_type.offer(source.gpu_type)

    def _keep(self, source: Run) -> None:
        """Say in the choices that what is not chosen stays as in ``source``."""
        preemptible, gpu_type = self.fields["preemptible"], self.fields["gpu_type"].widget
        assert isinstance(preemptible, forms.ChoiceField)
        as_before = _("as before: %(value)s")
        value = _("yes") if source.preemptible else _("no")
        preemptible.choices = [("", as_before % {"value": value}), (YES, _("yes")), (NO, _("no"))]
        if isinstance(gpu_type, GpuTypeSelect) and source.gpu_type:
            gpu_type.choices = [
                ("", as_before % {"value": source.gpu_type}),
                *list(gpu_type.choices)[1:],
            ]

    @property
    def _recipes(self) -> RecipeSelect:
        widget = self.fields["recipe"].widget
        assert isinstance(widget, RecipeSelect)
        return widget

    def submit(self, action: Callable[..., T], *args: Any, **options: Any) -> T | None:
        """The result of ``action`` with the configuration and the code; None if something is
        refused: the form then shows why. Call once it is valid."""
        code = self.bring(self.cleaned_data["recipe"] or self._recipes.recipe_of_empty)
        if self.errors:
            return None
        return attempt(
            self, action, *args, by=self.user, code=code, **options, **self.configuration
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
            *("name", "model", "dataset", "recipe", "priority", "preemptible"),
            *("time_limit_seconds", "hyperparameters"),
        )
        resources = {
            name: values[name] for name in ("gpu_type", "gpu_count", "nodes") if name in values
        }
        return {
            **{name: values[name] for name in fields if name in values},
            "resources": resources,
        }


def _own_preemptible(run: Run) -> str:
    """The choice that says what the run says; none where its recipe says the same."""
    if run.recipe is None or run.preemptible == run.recipe.preemptible:
        return ""
    return YES if run.preemptible else NO
