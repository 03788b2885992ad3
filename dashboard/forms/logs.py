"""Form for filtering log lines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from logs.models import MAX_RANK, MAX_SOURCE_LENGTH, LogLevel
from logs.search import MAX_PATTERN_LENGTH, LogFilter
from runs.filters import in_utc


class UtcTimeField(forms.DateTimeField):
    """``datetime-local`` has no time zone; all times on the pages are UTC (settings.TIME_ZONE)."""

    widget = forms.DateTimeInput(
        attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S"
    )

    def to_python(self, value: Any) -> datetime | None:
        return in_utc(super().to_python(value))


class LogFilterForm(forms.Form):
    """Filter the log lines of a page. Invalid query parameters are ignored."""

    level = forms.ChoiceField(
        label=_("level"), required=False, choices=[("", _("All")), *LogLevel.choices]
    )
    q = forms.CharField(label=_("text"), required=False, max_length=MAX_PATTERN_LENGTH, strip=False)
    regex = forms.CharField(
        label=_("regular expression"), required=False, max_length=MAX_PATTERN_LENGTH, strip=False
    )
    source = forms.CharField(
        label=_("source"), required=False, max_length=MAX_SOURCE_LENGTH, strip=False
    )
    rank = forms.IntegerField(label=_("rank"), required=False, min_value=0, max_value=MAX_RANK)
    start_time = UtcTimeField(label=_("from (UTC)"), required=False)
    end_time = UtcTimeField(label=_("before (UTC)"), required=False)

    @property
    def filter(self) -> LogFilter:
        self.full_clean()
        values = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        return LogFilter(**values)
