"""The sweeps of a project."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.db.models import Max
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import Role
from dashboard.forms.sweeps import SweepForm
from dashboard.live import live
from dashboard.pages import INVALID_FORM, PageRequest, page_of, sent
from dashboard.sweep_page import history_of, in_order, parallel_url
from dashboard.views.lookups import get_project, poll_status
from projects.permissions import requires
from sweeps import actions
from sweeps.models import Sweep, TrialState

SWEEPS_PER_PAGE: Final = 50
TRIALS_PER_PAGE: Final = 100


def get_sweep(request: PageRequest, project_id: str, sweep_id: str) -> Sweep:
    visible = Sweep.objects.visible_to(request.user).select_related("project", "created_by")
    return get_object_or_404(visible, pk=sweep_id, project=project_id)


@require_safe
def sweep_list(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    sweeps = Sweep.objects.visible_to(request.user).filter(project=project)
    page = page_of(request, sweeps.select_related("created_by"), SWEEPS_PER_PAGE)
    rows = [(sweep, sweep.best_trial) for sweep in page]
    return render(request, "sweeps/list.html", {"project": project, "page": page, "rows": rows})


@requires(Role.MEMBER)
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = SweepForm(*sent(request), by=request.user)
    form.suggest_sweep(project)
    if form.is_valid():
        sweep = form.submit(actions.create_sweep, project)
        if sweep is not None:
            messages.success(request, _("%(name)s begins.") % {"name": sweep.name})
            return redirect("dashboard:sweep", project.pk, sweep.pk)
    status = INVALID_FORM if form.errors else None
    context = {"form": form, "project": project}
    return render(request, "sweeps/form.html", context, status=status)


@require_safe
def detail(request: PageRequest, project_id: str, sweep_id: str) -> HttpResponse:
    sweep = get_sweep(request, project_id, sweep_id)
    return render(request, "sweeps/detail.html", _context(request, sweep))


def _context(request: PageRequest, sweep: Sweep) -> dict[str, Any]:
    order = "value" if request.GET.get("order") == "value" else "number"
    trials = in_order(sweep, order)
    page = page_of(request, trials, TRIALS_PER_PAGE)
    return {
        "project": sweep.project,
        "sweep": sweep,
        "best": sweep.best_trial,
        "page": page,
        "order": order,
        "names": list(sweep.search_space),
        "history": history_of(sweep),
        "parallel": parallel_url(sweep),
        "goes_on": not sweep.is_over or sweep.trials.filter(state=TrialState.RUNNING).exists(),
    }


def _version(request: PageRequest, project_id: str, sweep_id: str) -> str:
    """Changes with the sweep, and with the runs of its open trials."""
    sweep = get_sweep(request, project_id, sweep_id)
    runs = sweep.trials.exclude(state=TrialState.COMPLETE).aggregate(at=Max("run__updated_at"))
    return repr((sweep.updated_at, sweep.status, runs["at"]))


@require_safe
@live(_version)
def live_parts(request: PageRequest, project_id: str, sweep_id: str) -> HttpResponse:
    sweep = get_sweep(request, project_id, sweep_id)
    context = _context(request, sweep)
    return render(request, "sweeps/_live.html", context, status=poll_status(context["goes_on"]))


@require_POST
def act(request: PageRequest, project_id: str, sweep_id: str, action: str) -> HttpResponse:
    """``action``: pause, continue, cancel."""
    sweep = get_sweep(request, project_id, sweep_id)
    if action == "pause":
        actions.pause_sweep(sweep)
    elif action == "continue":
        actions.continue_sweep(sweep)
    elif action == "cancel":
        actions.cancel_sweep(sweep, by=request.user)
    else:
        raise Http404
    return redirect("dashboard:sweep", project_id, sweep.pk)
