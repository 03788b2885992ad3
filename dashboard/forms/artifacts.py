"""Form for tagging a checkpoint."""

from django import forms
from django.utils.translation import gettext_lazy as _

from artifacts.kinds import TagValue


class TagForm(forms.Form):
    tag = forms.ChoiceField(label=_("tag"), choices=TagValue.choices)
    notes = forms.CharField(
        label=_("notes"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
