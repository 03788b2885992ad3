"""What people do with runs: start, describe, cancel, retry them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms.descriptions import DescriptionForm
from dashboard.forms.runs import RunForm
from dashboard.pages import INVALID_FORM, PageRequest, attempt
from dashboard.views.lookups import get_project, get_run
from projects.models import Project
from runs import actions
from runs.descriptions import describe
from runs.models import Run

# The request does not block for long: the page shows that a run is stopping, and keeps asking.
CANCEL_WAIT_SECONDS = 3.0


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest, project_id: str) -> HttpResponse:
    """A new run; with ``?like=`` a run's ID, the form is filled in as that one's was."""
    project = get_project(request, project_id)
    model = _model_of(request, project)
    form = RunForm(request.POST if request.method == "POST" else None)
    form.suggest_project(project)
    if model is not None:
        form.fill_in(model)
    if form.is_valid():
        run = attempt(form, actions.create_run, project, by=request.user, **form.configuration)
        if run is not None:
            messages.success(request, _("%(name)s is queued.") % {"name": run.name})
            return redirect("dashboard:run", project.pk, run.pk)
    status = INVALID_FORM if form.errors else None
    context = {"form": form, "project": project, "like": model}
    return render(request, "runs/form.html", context, status=status)


def _model_of(request: PageRequest, project: Project) -> Run | None:
    run_id = request.GET.get("like", "")
    if not run_id:
        return None
    visible = Run.objects.visible_to(request.user).filter(project=project)
    return get_object_or_404(visible, pk=run_id.replace("\x00", ""))


@require_http_methods(["GET", "HEAD", "POST"])
def describe_run(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """Rename, note and tag the run."""
    run = get_run(request, project_id, run_id)
    form = DescriptionForm(run, request.POST if request.method == "POST" else None)
    if form.is_valid():
        attempt(form, describe, run, by=request.user, **form.description)
        if not form.errors:
            messages.success(request, _("Saved."))
            return redirect("dashboard:run", project_id, run.pk)
    status = INVALID_FORM if form.errors else None
    context = {"form": form, "run": run, "project": run.project}
    return render(request, "runs/describe.html", context, status=status)


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
