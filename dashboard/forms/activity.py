"""Form for filtering what everybody does."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from dashboard.activity import ActivityFilter, ActivityKind
from dashboard.forms.logs import known_zone
from dashboard.forms.project_field import ProjectField
from projects.models import Project

if TYPE_CHECKING:
    PersonField = forms.ModelChoiceField[User]  # generic only for type checkers
else:
    PersonField = forms.ModelChoiceField


class ActivityForm(forms.Form):
    """Invalid query parameters are shown as such, and do not filter."""

    person = PersonField(
        label=_("person"),
        required=False,
        queryset=User.objects.order_by("username"),
        empty_label=_("Everybody"),
    )
    project = ProjectField(
        label=_("project"), required=False, queryset=Project.objects.all(), empty_label=_("All")
    )
    kind = forms.ChoiceField(
        label=_("kind"), required=False, choices=[("", _("All")), *ActivityKind.choices]
    )
    day = forms.DateField(
        label=_("day"), required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    # Of the day. static/js/times.js puts in that of the browser.
    zone = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        projects = self.fields["project"]
        assert isinstance(projects, ProjectField)
        projects.offer(data.get("project", ""))
        self.full_clean()
        self._zone = known_zone(self.cleaned_data.get("zone", ""))

    @property
    def chosen(self) -> ActivityFilter:
        """What the valid fields choose."""
        cleaned = self.cleaned_data
        return ActivityFilter(
            person=cleaned.get("person"),
            project=cleaned.get("project"),
            kind=ActivityKind(cleaned["kind"]) if cleaned.get("kind") else None,
            **self._day(),
        )

    def _day(self) -> dict[str, datetime]:
        day = self.cleaned_data.get("day")
        if day is None:
            return {}
        try:
            since = datetime.combine(day, time(), self._zone).astimezone(UTC)
            until = datetime.combine(day + timedelta(days=1), time(), self._zone).astimezone(UTC)
        except OverflowError:  # at the ends of the calendar
            self.add_error("day", _("Enter a valid date."))
            return {}
        return {"since": since, "before": until}
