"""Forms of what releases need, of requests for them, and of evaluations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from core.text import MAX_NAME_LENGTH
from projects.form_fields import JSONObjectField
from registry.evaluation_rules import MAX_EVERY
from registry.release_policy import CARD_FIELDS, MAX_DAYS, GateKind, ReleasePolicy
from registry.release_requests import MAX_NOTES
from runs.models import MAX_DATASET_LENGTH, Recipe, RecipeKind

_METRIC_GATE: Final = re.compile(r"(?P<key>.+?)\s*(?P<comparison>>=|<=)\s*(?P<threshold>\S+)")


class PolicyForm(forms.Form):
    """What a project demands of releases."""

    needs_approval = forms.BooleanField(
        label=_("a maintainer other than the asker approves each release"), required=False
    )
    metrics = forms.CharField(
        label=_("metrics"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("One per line: a result of an evaluation, as in mmlu/acc >= 0.6"),
    )
    verifies = forms.BooleanField(label=_("its bytes are verified"), required=False)
    within_days = forms.IntegerField(
        label=_("within days"),
        min_value=0,
        max_value=MAX_DAYS,
        required=False,
        help_text=_("0: they are read again at the decision."),
    )
    card = forms.MultipleChoiceField(
        label=_("the model card has"),
        required=False,
        choices=[(name, format_html("<code>{}</code>", name)) for name in CARD_FIELDS],
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_metrics(self) -> list[dict[str, Any]]:
        lines = self.cleaned_data["metrics"].splitlines()
        return [_metric_gate(line) for line in lines if line.strip()]

    @property
    def gates(self) -> list[dict[str, Any]]:
        """Of a valid form."""
        given = self.cleaned_data
        gates = list(given["metrics"])
        if given["verifies"]:
            gates.append({"kind": GateKind.BYTES, "within_days": given["within_days"] or 0})
        if given["card"]:
            gates.append({"kind": GateKind.CARD, "fields": given["card"]})
        return gates


def _metric_gate(line: str) -> dict[str, Any]:
    """Raises ValidationError."""
    match = _METRIC_GATE.fullmatch(line.strip())
    try:
        threshold = float(match["threshold"]) if match else None
    except ValueError:
        threshold = None
    if match is None or threshold is None:
        text = _t("%(line)s is not as in mmlu/acc >= 0.6. The comparisons are >= and <=.")
        raise forms.ValidationError(text % {"line": line.strip()[:100]})
    said = {"key": match["key"], "comparison": match["comparison"], "threshold": threshold}
    return {"kind": GateKind.METRIC, **said}


def initial_of(policy: ReleasePolicy) -> dict[str, Any]:
    """What PolicyForm shows of ``policy``."""
    by_kind: dict[GateKind, list[Any]] = {kind: [] for kind in GateKind}
    for gate in policy.gates:
        by_kind[gate.kind].append(gate)
    days = [gate.within_days for gate in by_kind[GateKind.BYTES]]
    return {
        "needs_approval": policy.needs_approval,
        "metrics": "\n".join(_line(gate) for gate in by_kind[GateKind.METRIC]),
        "verifies": bool(days),
        "within_days": min(days, default=0),
        "card": [name for gate in by_kind[GateKind.CARD] for name in gate.fields],
    }


def _line(gate: Any) -> str:
    return f"{gate.key} {gate.comparison.value} {gate.threshold!r}"


class RequestForm(forms.Form):
    notes = forms.CharField(
        label=_("notes"),
        max_length=MAX_NOTES,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


def evaluation_recipes() -> Iterable[Recipe]:
    return Recipe.objects.filter(enabled=True, kind=RecipeKind.EVALUATION).order_by("name")


class EvaluateForm(forms.Form):
    """Which recipe evaluates the chosen checkpoints."""

    recipe = forms.ModelChoiceField(label=_("recipe"), queryset=Recipe.objects.none())
    hyperparameters = JSONObjectField(label=_("hyperparameters"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["recipe"].queryset = evaluation_recipes()  # type: ignore[attr-defined]

    @property
    def has_recipes(self) -> bool:
        return bool(self.fields["recipe"].queryset)  # type: ignore[attr-defined]


class RuleForm(EvaluateForm):
    """Every nth checkpoint of which trainings."""

    dataset = forms.CharField(
        label=_("dataset"),
        max_length=MAX_DATASET_LENGTH,
        required=False,
        help_text=_("Empty: that of the training."),
    )
    every = forms.IntegerField(
        label=_("every how many checkpoints"), min_value=1, max_value=MAX_EVERY, initial=1
    )
    of_recipe = forms.ModelChoiceField(
        label=_("only of the recipe"),
        queryset=Recipe.objects.filter(kind=RecipeKind.TRAINING),
        required=False,
        empty_label=_("all"),
    )
    run_name = forms.CharField(
        label=_("only of runs named"), max_length=MAX_NAME_LENGTH, required=False
    )

    field_order = ("recipe", "every", "of_recipe", "run_name", "dataset", "hyperparameters")
