"""The table of a run's metrics."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.pages import PageRequest
from dashboard.views.lookups import get_run, poll_status
from metrics.reading import summaries


@require_safe
def metric_table(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {"run": run, "project": run.project, "summaries": summaries(run)}
    return render(request, "runs/_metrics.html", context, status=poll_status(not run.is_terminal))
