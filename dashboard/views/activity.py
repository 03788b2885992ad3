"""What everybody does."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.permissions import sees_everything
from dashboard.activity import Cursor, activity
from dashboard.forms.activity import ActivityForm
from dashboard.pages import PageRequest


@require_safe
def activity_list(request: PageRequest) -> HttpResponse:
    """A page of the activity, filtered by the query; ``?after=``: where the page before ended."""
    if not sees_everything(request.user):
        raise PermissionDenied
    form = ActivityForm(request.GET)
    after = Cursor.parse(request.GET.get("after", ""))
    page = activity(form.chosen, after=after)
    context = {"form": form, "page": page, "is_first": after is None}
    return render(request, "activity/list.html", context)
