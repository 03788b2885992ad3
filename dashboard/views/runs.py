"""What people do with runs: start, describe, cancel, retry them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.roles import Role
from dashboard.forms.descriptions import DescriptionForm
from dashboard.forms.runs import RunForm
from dashboard.pages import INVALID_FORM, PageRequest, attempt, sent
from dashboard.views.lookups import get_project, get_run
from projects.permissions import requires
from runs import actions, interruptions
from runs.descriptions import describe
from runs.models import Run, RunCode

# The request does not block for long: the page shows that a run is stopping, and keeps asking.
CANCEL_WAIT_SECONDS = 3.0


@requires(Role.MEMBER)
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest, project_id: str) -> HttpResponse:
    """A form for a new run. ``?from=``: filled in with the configuration of that run."""
    project = get_project(request, project_id)
    source = _source(request, project_id)
    form = RunForm(*sent(request), by=request.user)
    form.suggest_project(project)
    if source is not None:
        form.fill_in(source)
    if form.is_valid():
        run = form.submit(actions.create_run, project, code_of=source)
        if run is not None:
            messages.success(request, _("%(name)s is queued.") % {"name": run.name})
            return redirect("dashboard:run", project.pk, run.pk)
    status = INVALID_FORM if form.errors else None
    kept_code = None if source is None else RunCode.of(source)
    context = {"form": form, "project": project, "source": source, "kept_code": kept_code}
    return render(request, "runs/form.html", context, status=status)


def _source(request: PageRequest, project_id: str) -> Run | None:
    """The run that the new one is to be like. Raises Http404 for one that is not there."""
    run_id = request.GET.get("from", "")
    return get_run(request, project_id, run_id.replace("\x00", "")) if run_id else None


@requires(Role.MEMBER)
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
def pause(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    run = interruptions.pause_run(run, by=request.user, wait_seconds=CANCEL_WAIT_SECONDS)
    if run.is_paused:
        messages.success(request, str(run.status_reason))
    else:
        messages.info(request, _("The run is stopping and saving a checkpoint."))
    return redirect("dashboard:run", project_id, run.pk)


@require_POST
def continue_paused(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = interruptions.continue_run(get_run(request, project_id, run_id), by=request.user)
    messages.success(request, _("%(name)s is queued.") % {"name": run.name})
    return redirect("dashboard:run", project_id, run.pk)


@require_POST
def retry(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = actions.retry_run(get_run(request, project_id, run_id), by=request.user)
    messages.success(request, _("%(name)s is queued.") % {"name": run.name})
    return redirect("dashboard:run", project_id, run.pk)


@require_POST
def restore(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """Take the run out of the trash."""
    run = get_run(request, project_id, run_id)
    run.restore(by=request.user)
    messages.success(request, _("%(name)s is restored from the trash.") % {"name": run.name})
    return redirect("dashboard:run", project_id, run.pk)
