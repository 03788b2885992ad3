"""The metrics of a run: the table and the charts."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import charts
from dashboard.pages import PageRequest
from dashboard.views.lookups import get_run, poll_status
from metrics.reading import summaries


@require_safe
def metric_table(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {"run": run, "project": run.project, "summaries": summaries(run)}
    return render(request, "runs/_metrics.html", context, status=poll_status(not run.is_terminal))


@require_safe
def series(request: PageRequest, project_id: str, run_id: str) -> JsonResponse:
    """The data of the run's charts. ``finished``: the run has ended, so polling can stop."""
    run = get_run(request, project_id, run_id)
    return JsonResponse({"finished": run.is_terminal, "charts": charts.charts(run)})
