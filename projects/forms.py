"""What people fill in about projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from projects.hyperparameters import MAX_BYTES, check_hyperparameters
from projects.models import Project, ProjectStatus
from trainhub.exceptions import InvalidInput

MAX_TAGS = 50

if TYPE_CHECKING:
    ProjectModelForm = forms.ModelForm[Project]  # generic for the type checker alone
else:
    ProjectModelForm = forms.ModelForm


def _integer(text: str) -> int:
    """As int(), within what JSON's writers agree on (64 bits). Raises ValueError."""
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


class ParsedField(forms.CharField):
    """A text that means something else; its length and characters are checked as a text's."""

    def clean(self, value: Any) -> Any:
        return self.parse(super().clean(value) or "")

    def parse(self, text: str) -> Any:
        """What ``text`` means. Raises ValidationError."""
        raise NotImplementedError


class NumberField(ParsedField):
    """A number as people write it: 3 stays an integer, 3e-5 and 0.5 become floats."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": _("Enter a number, such as 16 or 2e-5.")
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=64, **kwargs)
        self.widget.attrs["inputmode"] = "decimal"

    def parse(self, text: str) -> float | None:
        if not text:
            return None
        for read in (_integer, float):
            try:
                return read(text)
            except ValueError:
                continue
        raise forms.ValidationError(self.error_messages["invalid"], code="invalid")

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else str(value).replace("e-0", "e-")


class JSONObjectField(ParsedField):
    """A JSON object, strictly: no NaN, nothing but an object."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "code"})
        super().__init__(required=False, max_length=MAX_BYTES, widget=widget, **kwargs)

    def parse(self, text: str) -> dict[str, Any]:
        try:
            parsed = orjson.loads(text or "{}")
        except orjson.JSONDecodeError as error:
            raise forms.ValidationError(
                _("Not valid JSON: %(why)s"), params={"why": str(error)}, code="invalid"
            ) from error
        if not isinstance(parsed, dict):
            raise forms.ValidationError(_("Enter a JSON object: {…}."), code="invalid")
        return parsed

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if value else ""
        return value


class HyperparametersForm(forms.Form):
    """The usual hyperparameters as fields of their own, any others as JSON.

    ``cleaned_data["hyperparameters"]`` is the whole. What is left empty is left out.
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
    max_steps = NumberField(label=_("steps at most"))
    seed = NumberField(label=_("seed"))
    other_hyperparameters = JSONObjectField(
        label=_("other hyperparameters"), help_text=_('JSON, for example {"weight_decay": 0.1}.')
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        usual = {name: cleaned[name] for name in self.FIELDS if cleaned.get(name) is not None}
        for name, value in usual.items():
            self._check({name: value}, name)
        others = cleaned.get("other_hyperparameters") or {}
        whole = {**others, **usual}
        if not self.errors:
            self._check(whole, "other_hyperparameters")
        cleaned["hyperparameters"] = whole
        return cleaned

    def _check(self, value: dict[str, Any], field: str) -> None:
        try:
            check_hyperparameters(value)
        except InvalidInput as error:
            self.add_error(field, str(error.message))

    @classmethod
    def split(cls, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """``hyperparameters`` as the initial values of this form's fields."""
        usual = {name: hyperparameters[name] for name in cls.FIELDS if name in hyperparameters}
        others = {name: value for name, value in hyperparameters.items() if name not in usual}
        return {**usual, "other_hyperparameters": others}

    def suggest(self, hyperparameters: dict[str, Any]) -> None:
        """Show what holds where a field is left empty."""
        for name in self.FIELDS:
            if name in hyperparameters:
                self.fields[name].widget.attrs["placeholder"] = self.fields[name].prepare_value(
                    hyperparameters[name]
                )


class TagListField(ParsedField):
    """Words apart by commas (, or ，)."""

    def parse(self, text: str) -> list[str]:
        words = text.replace("，", ",").split(",")
        tags = list(dict.fromkeys(word.strip() for word in words if word.strip()))
        if len(tags) > MAX_TAGS:
            raise forms.ValidationError(
                _("%(limit)d tags at most."), params={"limit": MAX_TAGS}, code="too_many"
            )
        if any(len(tag) > 64 for tag in tags):
            raise forms.ValidationError(_("A tag has 64 characters at most."), code="too_long")
        return tags

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class ProjectForm(HyperparametersForm, ProjectModelForm):
    """A project's configuration; ``configuration`` is what Project.create and revise take."""

    tags = TagListField(
        label=_("tags"), required=False, max_length=4000, help_text=_("Apart by commas.")
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

    @property
    def configuration(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        return {
            **{name: cleaned[name] for name in self.Meta.fields},
            "default_hyperparameters": cleaned["hyperparameters"],
        }

    def _post_clean(self) -> None:
        """Leave the instance as it is: it changes through its own methods alone."""


class ProjectFilterForm(forms.Form):
    """Which projects a list shows; nonsense in the address filters nothing."""

    q = forms.CharField(label=_("search"), required=False, max_length=200)
    status = forms.ChoiceField(
        label=_("status"), required=False, choices=[("", _("All")), *ProjectStatus.choices]
    )

    def of(self, projects: QuerySet[Project]) -> QuerySet[Project]:
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
