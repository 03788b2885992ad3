"""The form of a new sweep."""

from __future__ import annotations

from typing import Any, Final

import orjson
from django import forms
from django.utils.translation import gettext_lazy as _

from core.text import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from dashboard.forms.runs import RunForm
from projects.form_fields import JSONObjectField
from projects.models import Project
from sweeps.actions import (
    DEFAULT_FACTOR,
    DEFAULT_PARALLEL,
    DEFAULT_TRIALS,
    MAX_FACTOR,
    MAX_PARALLEL,
    MAX_SEED,
)
from sweeps.models import NAME_RESERVE, Goal, Method, Pruning, ValueOf
from sweeps.spaces import MAX_TRIALS

EXAMPLE: Final = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    "batch_size": {"type": "int", "low": 8, "high": 64, "step": 8},
    "optimizer": {"type": "categorical", "choices": ["adamw", "sgd"]},
}
MAX_STEPS: Final = 2**53


class SweepForm(RunForm):
    """What is common to all runs is asked for as of a run. sweeps.actions.create_sweep accepts
    ``arguments``."""

    name = forms.CharField(
        label=_("name"), required=False, max_length=MAX_NAME_LENGTH - NAME_RESERVE
    )
    search_space = JSONObjectField(
        label=_("search space"),
        help_text=_(
            "JSON: for each hyperparameter a float or int with low and high (log or step if "
            "needed), or categorical choices. A grid takes a count or a step of a float."
        ),
    )
    metric = forms.CharField(label=_("metric"), max_length=MAX_KEY_LENGTH)
    goal = forms.ChoiceField(
        label=_("goal"), required=False, choices=[("", _("by its name")), *Goal.choices]
    )
    value_of = forms.ChoiceField(label=_("value that counts"), choices=ValueOf.choices)
    method = forms.ChoiceField(label=_("method"), choices=Method.choices, initial=Method.TPE)
    pruning = forms.ChoiceField(label=_("pruning"), choices=Pruning.choices)
    min_steps = forms.IntegerField(
        label=_("first comparison at step"),
        required=False,
        min_value=1,
        max_value=MAX_STEPS,
        help_text=_("Of ASHA. Compared again at this step times the reduction factor, and so on."),
    )
    reduction_factor = forms.IntegerField(
        label=_("reduction factor"),
        required=False,
        min_value=2,
        max_value=MAX_FACTOR,
        help_text=_("Of ASHA: one trial in so many goes on."),
    )
    max_trials = forms.IntegerField(
        label=_("max trials"),
        required=False,
        min_value=1,
        max_value=MAX_TRIALS,
        help_text=_("Default: 20; of a grid, all of its points."),
    )
    max_parallel = forms.IntegerField(
        label=_("max parallel"), required=False, min_value=1, max_value=MAX_PARALLEL
    )
    search_seed = forms.IntegerField(
        label=_("seed of the search"), required=False, min_value=0, max_value=MAX_SEED
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        space = self.fields["search_space"]
        space.widget.attrs |= {
            "rows": 8,
            "placeholder": orjson.dumps(EXAMPLE, option=orjson.OPT_INDENT_2).decode(),
        }
        self._suggest(
            max_trials=DEFAULT_TRIALS,
            max_parallel=DEFAULT_PARALLEL,
            reduction_factor=DEFAULT_FACTOR,
        )

    def suggest_sweep(self, project: Project) -> None:
        """Show as placeholders what a sweep of ``project`` uses for empty fields."""
        self.suggest_project(project)
        self._suggest(name=f"sweep-{project.sweeps.count() + 1:03d}")
        self.initial["metric"] = next(iter(project.key_metrics), "")

    @property
    def configuration(self) -> dict[str, Any]:
        own = ("search_space", "metric", "goal", "value_of", "method", "pruning", "min_steps",
               "reduction_factor", "max_trials", "max_parallel")  # fmt: skip
        given = {
            name: self.cleaned_data[name]
            for name in own
            if self.cleaned_data.get(name) not in (None, "")
        }
        seed = self.cleaned_data.get("search_seed")
        common = {name: value for name, value in super().configuration.items() if value != {}}
        return {**common, **given, **({} if seed is None else {"seed": seed})}
