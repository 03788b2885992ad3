"""What everybody does in the projects that the reader sees."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.activity import Cursor, activity
from dashboard.forms.activity import ActivityForm
from dashboard.pages import PageRequest
from projects.sight import Sight


@require_safe
def activity_list(request: PageRequest) -> HttpResponse:
    """A page of the activity, filtered by the query; ``?after=``: where the page before ended."""
    form = ActivityForm(request.GET, request.user)
    after = Cursor.parse(request.GET.get("after", ""))
    page = activity(form.chosen, sight=Sight.of(request.user), after=after)
    context = {"form": form, "page": page, "is_first": after is None}
    return render(request, "activity/list.html", context)
