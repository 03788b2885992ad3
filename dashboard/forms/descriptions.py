"""The form with which people rename, note and tag a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from core.text import MAX_NAME_LENGTH
from projects.form_fields import ParsedField
from runs.descriptions import MAX_NOTE_LENGTH, note_of, own_tags
from runs.models import Run
from runs.reports import MAX_BYTES

SEPARATOR = " = "


class TagLinesField(ParsedField):
    """Tags of a run, one a line: ``key = text``."""

    def parse(self, text: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        for line in text.splitlines():
            if not line.strip():
                continue
            key, separator, value = line.partition("=")
            if not separator or not key.strip():
                raise forms.ValidationError(
                    _("Write each tag as key = text, one a line: %(line)s"),
                    params={"line": line[:80]},
                    code="invalid",
                )
            tags[key.strip()] = value.strip()
        return tags


class DescriptionForm(forms.Form):
    """``changes`` are the tags to set and, as None, to delete: against those that were shown, so
    that what a script has set meanwhile stays."""

    name = forms.CharField(label=_("name"), max_length=MAX_NAME_LENGTH)
    notes = forms.CharField(
        label=_("note"),
        required=False,
        max_length=MAX_NOTE_LENGTH,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=_("Markdown. MLflow's clients see the same note."),
    )
    tags = TagLinesField(
        label=_("tags"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "code"}),
        help_text=_("One per line: key = text."),
    )
    shown = TagLinesField(required=False, max_length=MAX_BYTES, widget=forms.HiddenInput)

    def __init__(self, run: Run, data: QueryDict | None) -> None:
        tags = _as_lines(own_tags(run))
        initial = {"name": run.name, "notes": note_of(run), "tags": tags, "shown": tags}
        super().__init__(data, initial=initial)

    @property
    def description(self) -> dict[str, Any]:
        """What runs.descriptions.describe takes."""
        before, after = self.cleaned_data["shown"], self.cleaned_data["tags"]
        changes: dict[str, str | None] = {
            key: text for key, text in after.items() if before.get(key) != text
        }
        changes |= dict.fromkeys(before.keys() - after.keys())
        return {
            "name": self.cleaned_data["name"],
            "notes": self.cleaned_data["notes"].replace("\r\n", "\n"),
            "tags": changes,
        }


def _as_lines(tags: Mapping[str, str]) -> str:
    """Tags of several lines are not among them: they stay as they are."""
    return "\n".join(
        f"{key}{SEPARATOR}{text}"
        for key, text in tags.items()
        if "=" not in key and text == text.strip() and len(text.splitlines()) <= 1
    )
