"""Forms for projects and hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from core.exceptions import InvalidInput
from core.text import MAX_NAME_LENGTH
from projects.form_fields import JSONObjectField, KeyMetricsField, NumberField, TagListField
from projects.hyperparameters import check_hyperparameters
from projects.models import Project, ProjectStatus

if TYPE_CHECKING:
    ProjectModelForm = forms.ModelForm[Project]  # generic only for type checkers
else:
    ProjectModelForm = forms.ModelForm


class HyperparametersForm(forms.Form):
    """Common hyperparameters as separate fields, all others as JSON.

    ``cleaned_data["hyperparameters"]`` contains both. Empty fields are omitted.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "batch_size",
        "num_epochs",
        "max_steps",
        "seed",
    )

    learning_rate = NumberField(label=_("learning rate"))
    batch_size = NumberField(label=_("batch size"))
    num_epochs = NumberField(label=_("epochs"))
    max_steps = NumberField(label=_("max steps"))
    seed = NumberField(label=_("seed"))
    other_hyperparameters = JSONObjectField(
        label=_("other hyperparameters"), help_text=_('JSON, for example {"weight_decay": 0.1}.')
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        common = {name: cleaned[name] for name in self.FIELDS if cleaned.get(name) is not None}
        for name, value in common.items():
            self._check({name: value}, name)
        others = cleaned.get("other_hyperparameters") or {}
        merged = {**others, **common}
        if not self.errors:
            self._check(merged, "other_hyperparameters")
        cleaned["hyperparameters"] = merged
        return cleaned

    def _check(self, value: dict[str, Any], field: str) -> None:
        try:
            check_hyperparameters(value)
        except InvalidInput as error:
            self.add_error(field, str(error.message))

    @classmethod
    def split(cls, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """Return the initial values of this form's fields for ``hyperparameters``."""
        common = {name: hyperparameters[name] for name in cls.FIELDS if name in hyperparameters}
        others = {name: value for name, value in hyperparameters.items() if name not in common}
        return {**common, "other_hyperparameters": others}

    def suggest(self, hyperparameters: dict[str, Any]) -> None:
        """Show as placeholders the values that apply if a field is left empty."""
        for name in self.FIELDS:
            if name in hyperparameters:
                self.fields[name].widget.attrs["placeholder"] = self.fields[name].prepare_value(
                    hyperparameters[name]
                )


class ProjectForm(HyperparametersForm, ProjectModelForm):
    """A project's configuration. Project.create and Project.revise accept ``configuration``."""

    tags = TagListField(
        label=_("tags"), required=False, max_length=4000, help_text=_("Separate tags with commas.")
    )

    key_metrics = KeyMetricsField(
        label=_("key metrics"),
        required=False,
        max_length=4000,
        help_text=_(
            "Names of metrics, separated by commas: shown first of each run. Empty: the losses, "
            "of evaluations first."
        ),
    )

    class Meta:
        model = Project
        fields = ("name", "description", "objective", "task_type", "base_model", "owner", "tags")
        widgets: ClassVar[dict[str, Any]] = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "objective": forms.Textarea(attrs={"rows": 2}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.update(self.split(self.instance.default_hyperparameters))
        self.initial["key_metrics"] = self.instance.key_metrics

    @property
    def configuration(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        return {
            **{name: cleaned[name] for name in self.Meta.fields},
            "default_hyperparameters": cleaned["hyperparameters"],
        }

    def _post_clean(self) -> None:
        """Leave the instance unchanged: only its own methods modify it."""


class ProjectFilterForm(forms.Form):
    """Filter the project list. Invalid query parameters are ignored."""

    q = forms.CharField(label=_("search"), required=False, max_length=MAX_NAME_LENGTH)
    status = forms.ChoiceField(
        label=_("status"), required=False, choices=[("", _("All")), *ProjectStatus.choices]
    )

    def apply(self, projects: QuerySet[Project]) -> QuerySet[Project]:
        self.full_clean()
        if status := self.cleaned_data.get("status"):
            projects = projects.filter(status=status)
        if q := self.cleaned_data.get("q"):
            projects = projects.filter(
                Q(name__icontains=q)
                | Q(owner__icontains=q)
                | Q(task_type__icontains=q)
                | Q(base_model__icontains=q)
                | Q(tags__contains=[q])
            )
        return projects
