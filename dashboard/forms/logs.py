"""Forms for filtering log lines, and for going to a place in a log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from logs.models import MAX_RANK, MAX_SOURCE_LENGTH, LogLevel
from logs.search import MAX_PATTERN_LENGTH, LogFilter
from runs.filters import in_utc

TIMES: Final = ("start_time", "end_time")
UTC: Final = ZoneInfo("UTC")


def known_zone(name: str) -> ZoneInfo:
    """The time zone of that name, such as Asia/Shanghai; UTC if there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # what is no name, or a folder's
        return UTC


class LocalTimeField(forms.DateTimeField):
    """``datetime-local`` has no time zone: it is in the current one."""

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
    start_time = LocalTimeField(required=False)
    end_time = LocalTimeField(required=False)
    # Of these times. static/js/times.js puts in that of the browser.
    zone = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict) -> None:
        zone = known_zone(data.get("zone", ""))
        super().__init__({**data.dict(), "zone": zone.key})
        self._zone = zone
        self.fields["start_time"].label = _("from (%(zone)s)") % {"zone": zone.key}
        self.fields["end_time"].label = _("before (%(zone)s)") % {"zone": zone.key}

    def full_clean(self) -> None:
        with timezone.override(self._zone):
            super().full_clean()
        for name in TIMES:
            at = getattr(self, "cleaned_data", {}).get(name)
            if at is not None:
                self.fields[name].widget.attrs["data-instant"] = at.isoformat()

    @property
    def filter(self) -> LogFilter:
        self.full_clean()
        values = {
            name: value
            for name, value in self.cleaned_data.items()
            if name != "zone" and value not in (None, "")
        }
        return LogFilter(**values)


class LogPlaceForm(forms.Form):
    """Where to go in a log: dashboard.log_places reads the same parameters."""

    at = forms.CharField(label=_("step or time"), required=False)
    # Of a time that is entered. static/js/times.js puts in that of the browser.
    zone = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(
            {"at": str(data.get("at", ""))[:200], "zone": known_zone(data.get("zone", "")).key},
            auto_id="jump_%s",
        )
        self.fields["at"].widget.attrs["placeholder"] = "1200"
