"""What people fill in about runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from django.utils.translation import gettext_lazy as _

from projects.forms import HyperparametersForm
from projects.models import Project
from runs.filters import in_utc
from runs.logs import LogFilter
from runs.models import LogLevel, Recipe, Run
from runs.status import RunStatus

MAX_GPUS = 10_000
MAX_RANK = 2**31 - 1


if TYPE_CHECKING:
    RecipeChoiceField = forms.ModelChoiceField[Recipe]  # generic for the type checker alone
else:
    RecipeChoiceField = forms.ModelChoiceField


class RecipeField(RecipeChoiceField):
    def to_python(self, value: Any) -> Recipe | None:
        ProhibitNullCharactersValidator()(value)  # the database would refuse to look for one
        return super().to_python(value)


class UtcTimeField(forms.DateTimeField):
    """``datetime-local`` has no zone: on these pages every time is UTC (settings.TIME_ZONE)."""

    widget = forms.DateTimeInput(
        attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S"
    )

    def to_python(self, value: Any) -> datetime | None:
        return in_utc(self, super().to_python(value))


class RunForm(HyperparametersForm):
    """A new run; what is left empty comes from the project, the recipe or the resumed run.

    ``configuration`` is what actions.create_run and resume_run take.
    """

    name = forms.CharField(label=_("name"), required=False, max_length=200)
    model = forms.CharField(label=_("model"), required=False, max_length=200)
    dataset = forms.CharField(label=_("dataset"), required=False, max_length=1000)
    recipe = RecipeField(
        label=_("recipe"),
        queryset=Recipe.objects.filter(enabled=True),
        required=False,
        empty_label=_("the default"),
        help_text=_("How it is trained; operators write recipes."),
    )
    gpu_type = forms.CharField(
        label=_("GPU type"),
        required=False,
        max_length=64,
        validators=[RegexValidator(r"\A[\w.\- ]*\Z")],
    )
    gpu_count = forms.IntegerField(label=_("GPUs"), required=False, min_value=0, max_value=MAX_GPUS)
    priority = forms.IntegerField(
        label=_("priority"),
        required=False,
        min_value=-100,
        max_value=100,
        help_text=_("Higher goes first; 0 is usual."),
    )

    def suggest_project(self, project: Project) -> None:
        """Show what a new run of ``project`` takes where a field is left empty."""
        self._suggest(name=f"run-{project.run_count + 1:03d}", model=project.base_model, priority=0)
        self.suggest(project.default_hyperparameters)

    def suggest_source(self, source: Run) -> None:
        """Show what a run resumed from ``source`` takes where a field is left empty."""
        self._suggest(
            name=f"run-{source.project.run_count + 1:03d}",
            model=source.model,
            dataset=source.dataset,
            gpu_type=source.gpu_type,
            gpu_count=source.gpu_count,
            priority=source.priority,
        )
        recipe = self.fields["recipe"]
        assert isinstance(recipe, forms.ModelChoiceField)
        recipe.empty_label = source.recipe_id
        recipe.required = source.is_external  # nothing says how it was trained
        self.suggest(source.hyperparameters)

    def _suggest(self, **values: Any) -> None:
        for name, value in values.items():
            self.fields[name].widget.attrs["placeholder"] = str(value)

    @property
    def configuration(self) -> dict[str, Any]:
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        kept = ("name", "model", "dataset", "recipe", "priority", "hyperparameters")
        resources = {name: given[name] for name in ("gpu_type", "gpu_count") if name in given}
        return {**{name: given[name] for name in kept if name in given}, "resources": resources}


class RunListForm(forms.Form):
    """How a reader chooses a project's runs; what it sends is what runs.filters.RunFilter reads."""

    name = forms.CharField(label=_("name"), required=False, max_length=200)
    status = forms.ChoiceField(
        label=_("status"), required=False, choices=[("", _("All")), *RunStatus.choices]
    )
    tag = forms.ChoiceField(
        label=_("checkpoint tagged"),
        required=False,
        choices=[
            ("", _("All")),
            ("候选", _("Candidate")),
            ("发布", _("Released")),
            ("归档", _("Archived")),
        ],
    )
    sort = forms.ChoiceField(
        label=_("order"),
        required=False,
        choices=[
            ("", _("Newest first")),
            ("created_at", _("Oldest first")),
            ("-started_at", _("Started last")),
            ("-progress", _("Furthest first")),
            ("-priority", _("Highest priority first")),
            ("name", _("By name")),
            ("status", _("By status")),
        ],
    )


class LogFilterForm(forms.Form):
    """Which log lines a page shows; nonsense in the address filters nothing."""

    level = forms.ChoiceField(
        label=_("level"), required=False, choices=[("", _("All")), *LogLevel.choices]
    )
    q = forms.CharField(label=_("text"), required=False, max_length=500, strip=False)
    regex = forms.CharField(
        label=_("regular expression"), required=False, max_length=500, strip=False
    )
    source = forms.CharField(label=_("source"), required=False, max_length=64, strip=False)
    rank = forms.IntegerField(label=_("rank"), required=False, min_value=0, max_value=MAX_RANK)
    start_time = UtcTimeField(label=_("from (UTC)"), required=False)
    end_time = UtcTimeField(label=_("before (UTC)"), required=False)

    @property
    def filter(self) -> LogFilter:
        self.full_clean()
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        return LogFilter(**given)
