"""Form for what a report of GPU time is grouped and narrowed down by."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from dashboard.forms.project_field import ProjectField
from goodput.report_queries import Grouping
from goodput.reports import Days
from projects.models import Project


class GoodputForm(forms.Form):
    """Invalid query parameters are shown as such, and do not filter."""

    by = forms.ChoiceField(label=_("group by"), required=False, choices=Grouping.choices)
    month = forms.DateField(
        label=_("month (UTC)"),
        required=False,
        input_formats=["%Y-%m"],
        widget=forms.DateInput(format="%Y-%m", attrs={"type": "month"}),
    )
    project = ProjectField(
        label=_("project"), required=False, queryset=Project.objects.none(), empty_label=_("All")
    )

    def __init__(self, data: QueryDict, reader: User) -> None:
        super().__init__({"by": Grouping.PROJECT, **data.dict()})
        projects = self.fields["project"]
        assert isinstance(projects, ProjectField)
        projects.offer(data.get("project", ""), reader)
        self.full_clean()

    @property
    def by_what(self) -> Grouping:
        return Grouping(self.cleaned_data.get("by") or Grouping.PROJECT)

    @property
    def chosen_project(self) -> Project | None:
        return self.cleaned_data.get("project")

    @property
    def days(self) -> Days:
        """Those of the month; by default the last 30."""
        month: date | None = self.cleaned_data.get("month")
        if month is None:
            return Days.containing(None, None)
        last = month.replace(day=monthrange(month.year, month.month)[1])
        start, end = datetime.combine(month, time(), UTC), datetime.combine(last, time.max, UTC)
        return Days.containing(start, end)
