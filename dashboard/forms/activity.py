"""Form for filtering what everybody does."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from django import forms
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from dashboard.activity import ActivityFilter, ActivityKind
from dashboard.forms.logs import known_zone
from dashboard.forms.project_field import ProjectField
from projects.models import Project
from projects.people import known_to
from runs.models import Run

if TYPE_CHECKING:
    PersonField = forms.ModelChoiceField[User]  # generic only for type checkers
else:
    PersonField = forms.ModelChoiceField


def _people(chosen: str, reader: User) -> QuerySet[User]:
    """Those whom the reader knows, and the one that is chosen if they have created runs that the
    reader sees: entries of theirs link here."""
    known = known_to(reader)
    is_id = len(chosen) < 10 and chosen.isascii() and chosen.isdigit()
    if sees_everything(reader) or not is_id:
        return known
    person = int(chosen)
    if known.filter(pk=person).exists():
        return known
    if not Run.objects.visible_to(reader).filter(created_by=person).exists():
        return known
    return User.objects.filter(Q(pk__in=known.values("pk")) | Q(pk=person))


class ActivityForm(forms.Form):
    """Invalid query parameters are shown as such, and do not filter."""

    person = PersonField(
        label=_("person"),
        required=False,
        queryset=User.objects.none(),
        empty_label=_("Everybody"),
    )
    project = ProjectField(
        label=_("project"), required=False, queryset=Project.objects.none(), empty_label=_("All")
    )
    kind = forms.ChoiceField(
        label=_("kind"), required=False, choices=[("", _("All")), *ActivityKind.choices]
    )
    day = forms.DateField(
        label=_("day"), required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    # Of the day. static/js/times.js puts in that of the browser.
    zone = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, reader: User) -> None:
        super().__init__(data)
        projects = self.fields["project"]
        assert isinstance(projects, ProjectField)
        projects.offer(data.get("project", ""), reader)
        people = self.fields["person"]
        assert isinstance(people, forms.ModelChoiceField)
        people.queryset = _people(data.get("person", ""), reader).order_by("username")
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
