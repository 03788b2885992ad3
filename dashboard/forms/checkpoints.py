"""Forms of the pages of checkpoints and releases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from artifacts.checkpoint_sizes import ids_by_size
from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag
from core.text import MAX_NAME_LENGTH

NO_TAG: Final = "none"
NEWEST_FIRST: Final = "-created_at"
# Parameter -> columns, the ids last so that pages do not overlap.
SORTS: Final[dict[str, tuple[str, ...]]] = {
    NEWEST_FIRST: ("-created_at", "id"),
    "created_at": ("created_at", "id"),
    "-step": ("-step", "id"),
    "step": ("step", "id"),
    "run": ("run__name", "run_id", "-step", "id"),
    "-run": ("-run__name", "run_id", "-step", "id"),
}
SIZE_SORTS: Final = ("-size", "size")


class CheckpointFilterForm(forms.Form):
    """Filter and sort a project's checkpoints. Invalid query parameters are ignored."""

    tag = forms.ChoiceField(
        label=_("tag"),
        required=False,
        choices=[
            ("", _("All")),
            *TagValue.choices,
            (NO_TAG, pgettext_lazy("tag of a checkpoint", "None")),
        ],
    )
    run = forms.CharField(label=_("run"), required=False, max_length=MAX_NAME_LENGTH)
    person = forms.CharField(label=_("trained by"), required=False, max_length=150)
    state = forms.ChoiceField(
        label=_("state"),
        required=False,
        choices=[("", _("All")), ("kept", _("Kept")), ("damaged", _("Damaged"))],
    )
    sort = forms.ChoiceField(
        required=False,
        choices=[(name, name) for name in (*SORTS, *SIZE_SORTS)],
        widget=forms.HiddenInput,
    )

    def ids(self, checkpoints: QuerySet[Artifact]) -> Sequence[str] | QuerySet[Artifact, str]:
        """Of those that match, in the order asked for."""
        self.full_clean()
        found = self._matching(checkpoints)
        if self.sorting in SIZE_SORTS:
            return ids_by_size(found, largest_first=self.sorting.startswith("-"))
        return found.order_by(*SORTS[self.sorting]).values_list("pk", flat=True)

    def _matching(self, checkpoints: QuerySet[Artifact]) -> QuerySet[Artifact]:
        cleaned = self.cleaned_data
        if tag := cleaned.get("tag"):
            tags = ArtifactTag.objects.filter(artifact=OuterRef("pk"))
            is_tagged = Exists(tags if tag == NO_TAG else tags.filter(value=tag))
            checkpoints = checkpoints.filter(~is_tagged if tag == NO_TAG else is_tagged)
        if run := cleaned.get("run"):
            checkpoints = checkpoints.filter(Q(run=run) | Q(run__name__icontains=run))
        if person := cleaned.get("person"):
            checkpoints = checkpoints.filter(run__created_by__username__iexact=person)
        if state := cleaned.get("state"):
            is_damaged = Q(metadata__has_key="damage")
            checkpoints = checkpoints.filter(is_damaged if state == "damaged" else ~is_damaged)
        return checkpoints

    @property
    def sorting(self) -> str:
        """The parameter in force."""
        return self.cleaned_data.get("sort") or NEWEST_FIRST


class LeaderboardForm(forms.Form):
    """What checkpoints are ranked by, and which end of it is best."""

    by = forms.ChoiceField(label=_("ranked by"), required=False)
    order = forms.ChoiceField(
        label=_("best"),
        required=False,
        choices=[
            ("", _("By the name")),
            ("lowest", _("Lowest")),
            ("highest", _("Highest")),
        ],
    )

    def __init__(self, names: list[tuple[str, str]], data: Any) -> None:
        """``names``: the measures, as choices."""
        super().__init__(data)
        field = self.fields["by"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = names
        self.full_clean()


class DecisionForm(forms.Form):
    """What is decided about a checkpoint, and why. The tag is that of the pressed button."""

    tag = forms.ChoiceField(choices=TagValue.choices, widget=forms.HiddenInput)
    notes = forms.CharField(
        label=_("notes"),
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("Why. Shown in the history, and in the model card."),
    )
    archive = forms.BooleanField(
        label=_("archive the releases that it replaces"), required=False, initial=True
    )
