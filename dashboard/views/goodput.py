"""Where the GPU-hours went."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from accounts.permissions import sees_everything
from dashboard.forms.goodput import GoodputForm
from dashboard.pages import PageRequest
from goodput.parts import Part
from goodput.reports import report

GROUPS_SHOWN = 200


@require_safe
def goodput(request: PageRequest) -> HttpResponse:
    if not sees_everything(request.user):
        raise PermissionDenied
    form = GoodputForm(request.GET)
    days, project = form.days, form.chosen_project
    project_id = None if project is None else project.pk
    found = report(form.by_what, days, project_id=project_id, limit=GROUPS_SHOWN)
    asked = {
        "by": found.by.value,
        "start_time": f"{days.first}T00:00:00Z",
        "end_time": f"{days.end}T00:00:00Z",
        **({"project_id": project_id} if project_id else {}),
    }
    context = {
        "form": form,
        "report": found,
        "project": project,
        "parts": list(Part),
        "csv": f"/goodput?{urlencode({**asked, 'format': 'csv'})}",
    }
    return render(request, "goodput/page.html", context)
