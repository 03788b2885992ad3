"""Where the GPU-hours went."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from dashboard.forms.goodput import GoodputForm
from dashboard.pages import PageRequest
from goodput.parts import Part
from goodput.reports import report
from projects.sight import Sight

GROUPS_SHOWN = 200


@require_safe
def goodput(request: PageRequest) -> HttpResponse:
    form = GoodputForm(request.GET, request.user)
    days, project = form.days, form.chosen_project
    project_id = None if project is None else project.pk
    sight = Sight.of(request.user)
    found = report(form.by_what, days, sight=sight, project_id=project_id, limit=GROUPS_SHOWN)
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
