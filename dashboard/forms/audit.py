"""Form for filtering the audit."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from accounts.roles import Role
from audit.names import KINDS
from audit.search import EntryFilter
from core.ids import MAX_LENGTH
from dashboard.forms.logs import known_zone
from projects.models import Project

PROJECTS_OFFERED: Final = 200


def _date(label: Any) -> forms.DateField:
    widget = forms.DateInput(attrs={"type": "date"})
    return forms.DateField(label=label, required=False, widget=widget)


class AuditForm(forms.Form):
    """Invalid query parameters are shown as such, and do not filter."""

    project_id = forms.CharField(label=_("project"), required=False, max_length=MAX_LENGTH)
    team_id = forms.CharField(required=False, max_length=MAX_LENGTH, widget=forms.HiddenInput)
    actor = forms.CharField(label=_("by"), required=False, max_length=150)
    kind = forms.ChoiceField(
        label=_("kind"), required=False, choices=[("", _("All")), *KINDS.items()]
    )
    action = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    subject_id = forms.CharField(label=_("subject (its id)"), required=False, max_length=200)
    token_id = forms.CharField(label=_("token"), required=False, max_length=MAX_LENGTH)
    since = _date(_("first day"))
    until = _date(_("last day"))
    # Of the days. static/js/times.js puts in that of the browser.
    zone = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, *, user: User) -> None:
        super().__init__(data)
        chosen = data.get("project_id", "")
        maintained = Project.objects.visible_to(user, role=Role.MAINTAINER)
        newest = maintained.order_by("-created_at", "id").values_list("pk", "name")
        offered = dict(newest[:PROJECTS_OFFERED])
        if chosen and "\x00" not in chosen:
            offered |= dict(newest.filter(pk=chosen))
        self.fields["project_id"].widget = forms.Select(choices=[("", _("All")), *offered.items()])
        self.full_clean()

    @property
    def chosen(self) -> EntryFilter:
        """What the valid fields choose."""
        cleaned = self.cleaned_data
        zone = known_zone(cleaned.get("zone", ""))
        names = ("project_id", "team_id", "actor", "kind", "action", "subject_id", "token_id")
        return EntryFilter(
            **{name: cleaned.get(name, "") for name in names},
            since=self._midnight("since", zone),
            before=self._midnight("until", zone, days=1),
        )

    def _midnight(self, name: str, zone: tzinfo, *, days: int = 0) -> datetime | None:
        day: date | None = self.cleaned_data.get(name)
        if day is None:
            return None
        try:
            return datetime.combine(day + timedelta(days=days), time(), zone).astimezone(UTC)
        except OverflowError:  # at the ends of the calendar
            self.add_error(name, _("Enter a valid date."))
            return None
