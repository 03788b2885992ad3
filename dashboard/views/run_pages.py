"""The pages of one run: a tab each, with the same header above.

``live`` answers with the header and what else of the tab changes, from the templates that the tab
itself includes, so the first render and every refresh are the same. It ends with the run.
"""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.permissions import sees_everything
from dashboard.forms.logs import LogFilterForm
from dashboard.lineage_table import lineage
from dashboard.live import live, moment
from dashboard.operators import sees_commands
from dashboard.pages import PageRequest, attempt, page_of
from dashboard.run_configuration import configuration
from dashboard.run_header import run_context
from dashboard.run_version_queries import run_version
from dashboard.views.artifacts import checkpoints_context
from dashboard.views.logs import TAIL_LINES, tail_context
from dashboard.views.lookups import get_run, poll_status
from dashboard.views.series import charts_context
from goodput.account import sums
from goodput.accounting import account_of
from goodput.parts import Part
from logs import reading
from metrics.reading import summaries
from runs.models import EventKind, Run
from runs.silence import is_at_work, no_step_since, silent_since
from runs.status import PENDING

EVENTS_PER_PAGE = 200
EXPLAINED_SECONDS = 15  # how long the reason why a run waits is shown at most


@require_safe
def detail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The charts, with the end of the log below."""
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    context = {
        **run_context(run, "charts"),
        **tail_context(run, form, attempt(form, reading.tail, run, TAIL_LINES, form.filter)),
        "summaries": summaries(run),
        **charts_context(request, run),
    }
    return render(request, "runs/detail.html", context)


@require_safe
def metric_table(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The table of metrics below the charts, read again when it is opened."""
    run = get_run(request, project_id, run_id)
    context = {"run": run, "project": run.project, "summaries": summaries(run)}
    return render(request, "runs/_metrics.html", context)


@require_safe
def configuration_page(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {
        **run_context(run, "configuration"),
        "configuration": configuration(run),
        "shows_command": sees_commands(request),
    }
    return render(request, "runs/configuration.html", context)


@require_safe
def lineage_page(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {**run_context(run, "lineage"), "lineage": lineage(run)}
    return render(request, "runs/lineage.html", context)


@require_safe
def event_list(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {**run_context(run, "events"), **_events(request, run), **_where_time_went(run)}
    return render(request, "runs/events.html", context)


def _where_time_went(run: Run) -> dict[str, Any]:
    parts = sums(account_of(run).intervals)
    wall = sum(parts.values())
    return {"time_parts": parts, "time_goodput": parts[Part.TRAINING] / wall if wall else None}


def _events(request: PageRequest, run: Run) -> dict[str, Any]:
    """A page of the run's events, of the kinds in ``?kind=`` if there are any."""
    present = set(run.events.order_by().values_list("kind", flat=True).distinct())
    chosen = {kind for kind in request.GET.getlist("kind") if kind in EventKind.values}
    events = run.events.select_related("actor", "worker").order_by("-id")
    if chosen:
        events = events.filter(kind__in=chosen)
    return {
        "page": page_of(request, events, EVENTS_PER_PAGE),
        "kinds": [(kind, kind in chosen) for kind in EventKind if kind in present],
    }


def _version(request: PageRequest, project_id: str, run_id: str) -> str:
    """Changes with all that the tabs show of the run, also with what only time tells."""
    if not sees_everything(request.user):
        get_run(request, project_id, run_id)
    row = run_version(project_id, run_id)
    if row is None:
        raise Http404
    status, recipe, worker, _updated, reported_at, stepped_at, attempt_started_at, *_ = row
    at_work = is_at_work(status, recipe, attempt_started_at)
    silent = at_work and silent_since(reported_at, attempt_started_at) is not None
    no_step = at_work and no_step_since(stepped_at, attempt_started_at) is not None
    waits = status in PENDING and worker is None and recipe is not None
    # Why it waits changes with what others do: looked up again after a while.
    explained = moment(EXPLAINED_SECONDS) if waits else 0
    return repr((row, silent, no_step, explained))


@require_safe
@live(_version)
def live_parts(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The header, and the live parts of the tab in ``?tab=``."""
    run = get_run(request, project_id, run_id)
    tab = request.GET.get("tab", "")
    context = run_context(run, tab)
    if tab == "checkpoints":
        context |= checkpoints_context(request, run)
    elif tab == "lineage":
        context["lineage"] = lineage(run)
    elif tab == "events":
        context |= _events(request, run)
    return render(request, "runs/_live.html", context, status=poll_status(not run.is_terminal))
