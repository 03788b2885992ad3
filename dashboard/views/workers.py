"""The queue, GPU pools and workers, and what operators do with them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.permissions import is_operator
from accounts.roles import Role
from dashboard import cluster_status
from dashboard.forms.workers import CapacityForm, PoolForm, PriorityForm
from dashboard.gpu_hours import gpu_hours
from dashboard.live import live
from dashboard.operators import operators_only
from dashboard.pages import INVALID_FORM, PageRequest
from dashboard.views.lookups import get_run
from projects.sight import Sight
from runs import actions
from runs.models import GpuPool, Worker

CHANGE_WORKER, CHANGE_POOL, ADD_POOL = (
    "runs.change_worker",
    "runs.change_gpupool",
    "runs.add_gpupool",
)


@require_safe
@vary_on_headers("X-Part")
def workers(request: PageRequest) -> HttpResponse:
    if "X-Part" in request.headers:
        return _parts(request)
    return _page(request, PoolForm())


@live(lambda request: cluster_status.version())
def _parts(request: PageRequest) -> HttpResponse:
    return render(request, "workers/_cluster.html", _cluster(request, Sight.of(request.user)))


def _page(request: PageRequest, form: PoolForm, status: int | None = None) -> HttpResponse:
    sight = Sight.of(request.user)
    context = {**_cluster(request, sight), "pool_form": form, "gpu_hours": gpu_hours(sight)}
    return render(request, "workers/detail.html", context, status=status)


def _cluster(request: PageRequest, sight: Sight) -> dict[str, Any]:
    return {
        "cluster": cluster_status.cluster_status(sight),
        "trains_in": Sight.of(request.user, role=Role.MEMBER),
        "can_change_workers": is_operator(request.user, CHANGE_WORKER),
        "can_change_pools": is_operator(request.user, CHANGE_POOL),
        "can_add_pools": is_operator(request.user, ADD_POOL),
    }


# --- the queue -------------------------------------------------------------------------------


@require_POST
def prioritize(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    form = PriorityForm(request.POST)
    if form.is_valid():
        run.set_priority(form.cleaned_data["priority"], by=request.user)
        params = {"name": run.name, "priority": run.priority}
        messages.success(request, _("%(name)s has priority %(priority)d.") % params)
    else:
        _refuse(request, form)
    return redirect("dashboard:workers")


@require_POST
def cancel_queued(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = actions.cancel_run(
        get_run(request, project_id, run_id), by=request.user, wait_seconds=0.0
    )
    if run.is_terminal:
        messages.success(request, _("%(name)s is cancelled.") % {"name": run.name})
    else:
        messages.info(
            request, _("%(name)s has just started, and is stopping.") % {"name": run.name}
        )
    return redirect("dashboard:workers")


# --- workers ---------------------------------------------------------------------------------


@require_POST
@operators_only(CHANGE_WORKER)
def drain(request: PageRequest, worker_id: str) -> HttpResponse:
    worker = get_object_or_404(Worker, pk=worker_id)
    worker.drain(by=request.user)
    messages.success(
        request, _("%(name)s takes no new runs; those it has go on.") % {"name": worker.name}
    )
    return redirect("dashboard:workers")


@require_POST
@operators_only(CHANGE_WORKER)
def undrain(request: PageRequest, worker_id: str) -> HttpResponse:
    worker = get_object_or_404(Worker, pk=worker_id)
    worker.undrain(by=request.user)
    messages.success(request, _("%(name)s takes new runs again.") % {"name": worker.name})
    return redirect("dashboard:workers")


@require_POST
@operators_only(CHANGE_WORKER)
def remove(request: PageRequest, worker_id: str) -> HttpResponse:
    worker = get_object_or_404(Worker, pk=worker_id)
    worker.remove(by=request.user)
    messages.success(request, _("%(name)s is removed.") % {"name": worker.name})
    return redirect("dashboard:workers")


# --- pools -----------------------------------------------------------------------------------


@require_POST
@operators_only(ADD_POOL)
def add_pool(request: PageRequest) -> HttpResponse:
    form = PoolForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=INVALID_FORM)
    pool = form.save()
    messages.success(request, _("The pool %(type)s is added.") % {"type": pool.name})
    return redirect("dashboard:workers")


@require_POST
@operators_only(CHANGE_POOL)
def resize_pool(request: PageRequest) -> HttpResponse:
    name = request.POST.get("pool", "")
    pool = None if "\x00" in name else GpuPool.objects.filter(pk=name).first()
    if pool is None:
        raise Http404
    form = CapacityForm(request.POST)
    if form.is_valid():
        pool.resize(form.cleaned_data["capacity"])
        params = {"type": pool.name, "count": pool.capacity}
        messages.success(request, _("The pool %(type)s has %(count)d GPUs.") % params)
    else:
        _refuse(request, form)
    return redirect("dashboard:workers")


def _refuse(request: PageRequest, form: forms.Form) -> None:
    """For forms of a row, which is not where it was when the page is shown again."""
    for errors in form.errors.values():
        for error in errors:
            messages.error(request, str(error))
