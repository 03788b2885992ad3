"""Forms of the table of runs: what is done with the selected ones, and saved views."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from core.text import MAX_KEY_LENGTH
from dashboard.models import MAX_NAME_LENGTH
from runs.params_tags import MAX_TAG_LENGTH


class TagRunsForm(forms.Form):
    """A tag for many runs. Without a value it is deleted."""

    tag_key = forms.CharField(label=_("tag"), max_length=MAX_KEY_LENGTH)
    tag_value = forms.CharField(label=_("value"), required=False, max_length=MAX_TAG_LENGTH)


class SavedViewForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=MAX_NAME_LENGTH)
    is_shared = forms.BooleanField(label=_("shared with everybody"), required=False)
