"""Pages of one run and their live fragments.

A page includes each fragment (``_x.html``), and htmx requests it alone, so the first render and
every refresh use the same template. Polling stops when the run ends (status 286).
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Max
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from artifacts.checkpoints import resumed_from
from dashboard.forms.logs import LogFilterForm
from dashboard.forms.runs import RunForm
from dashboard.pages import INVALID_FORM, PageRequest, attempt
from dashboard.views.artifacts import artifacts_context
from dashboard.views.logs import TAIL_LINES, tail_context
from dashboard.views.lookups import get_project, get_run, poll_status
from dashboard.views.series import charts_context
from execution.scheduling import why_waiting
from logs import reading
from metrics.reading import summaries
from runs import actions
from runs.models import Run

EVENTS_SHOWN = 200
# The request does not block for long: the page shows that a run is stopping, and keeps polling.
CANCEL_WAIT_SECONDS = 3.0


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = RunForm(request.POST if request.method == "POST" else None)
    form.suggest_project(project)
    if form.is_valid():
        run = attempt(form, actions.create_run, project, by=request.user, **form.configuration)
        if run is not None:
            messages.success(request, _("%(name)s is queued.") % {"name": run.name})
            return redirect("dashboard:run", project.pk, run.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/form.html", {"form": form, "project": project}, status=status)


@require_safe
def detail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    context = {
        **_live(run),
        "resumed_from": resumed_from(run),
        **artifacts_context(run),
        **_events(run),
        **tail_context(run, form, attempt(form, reading.tail, run, TAIL_LINES, form.filter)),
        "summaries": summaries(run),
        **charts_context(request, run),
    }
    return render(request, "runs/detail.html", context)


@require_safe
def live(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The run's status. Triggers ``run-changed``, which refreshes the other fragments, if the run
    has changed since the version they show (``?seen=``)."""
    run = get_run(request, project_id, run_id)
    context = _live(run)
    response = render(request, "runs/_live.html", context, status=poll_status(not run.is_terminal))
    if request.GET.get("seen") != context["version"]:
        response.headers["HX-Trigger-After-Settle"] = "run-changed"
    return response


def _live(run: Run) -> dict[str, Any]:
    waits = not (run.is_terminal or run.is_unmanaged) and run.worker_id is None
    return {
        "run": run,
        "project": run.project,
        "why_waiting": why_waiting(run) if waits else "",
        "version": _version(run),
    }


def _version(run: Run) -> str:
    """A version that changes with the run's events and artifacts."""
    latest_event = run.events.aggregate(latest=Max("id"))["latest"]
    latest_artifact = run.artifacts.aggregate(latest=Max("updated_at"))["latest"]
    return f"{latest_event}-{latest_artifact.timestamp() if latest_artifact else 0}"


@require_safe
def action_bar(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    return render(request, "runs/_actions.html", {"run": run, "project": run.project})


@require_safe
def event_list(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    return render(request, "runs/_events.html", _events(get_run(request, project_id, run_id)))


def _events(run: Run) -> dict[str, Any]:
    newest = run.events.select_related("actor", "worker").order_by("-id")[:EVENTS_SHOWN]
    return {"run": run, "project": run.project, "events": newest}


@require_POST
def cancel(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    run = actions.cancel_run(run, by=request.user, wait_seconds=CANCEL_WAIT_SECONDS)
    if run.is_terminal:
        messages.success(request, str(run.status_reason))
    else:
        messages.info(request, _("The run is stopping and saving a checkpoint."))
    return redirect("dashboard:run", project_id, run.pk)


@require_POST
def retry(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = actions.retry_run(get_run(request, project_id, run_id), by=request.user)
    messages.success(request, _("%(name)s is queued.") % {"name": run.name})
    return redirect("dashboard:run", project_id, run.pk)
