"""Pages of runs: the projects that have them, one run and its live parts, workers and the queue.

A fragment (``_x.html``) is included by its page and returned alone to htmx, so that the first
paint and every refresh are the same. Polling ends with the run (status 286).
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import Max
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from projects.forms import ProjectFilterForm
from projects.models import Project
from runs import actions, charts, logs, metrics, overview
from runs.filters import RunFilter
from runs.forms import LogFilterForm, RunForm, RunListForm
from runs.log_downloads import as_file
from runs.log_search import Row
from runs.models import Run
from runs.scheduling import why_waiting
from runs.status import ACTIVE
from trainhub.pages import INVALID_FORM, STOP_POLLING, PageRequest, attempt, page_of, whole_number

PROJECTS_A_PAGE = 25
RUNS_A_PAGE = 25
LOG_LINES_A_PAGE = 200
ARTIFACTS_SHOWN = 100
EVENTS_SHOWN = 200
TAIL_LINES = 200  # what the live log shows at first, and at most adds at a time
TAIL_FILTERS = ("level", "q", "regex", "source", "rank")  # not time: it goes on
# A page cancels without blocking for long: a run still stopping says so, and is watched anyway.
CANCEL_WAIT_SECONDS = 3.0


# --- projects --------------------------------------------------------------------------------


@require_safe
def project_list(request: PageRequest) -> HttpResponse:
    form = ProjectFilterForm(request.GET)
    projects = form.of(Project.objects.visible_to(request.user))
    page = page_of(request, projects, PROJECTS_A_PAGE)
    context = {"form": form, "page": page, "rows": overview.project_rows(list(page))}
    return render(request, "projects/list.html", context)


@require_safe
@vary_on_headers("HX-Request")
def project_detail(request: PageRequest, project_id: str) -> HttpResponse:
    """A project, its versions, and a page of its runs, filtered and sorted by the address."""
    project = _project(request, project_id)
    context = {"project": project, **_runs_of(request, project)}
    if request.htmx:
        return render(request, "runs/_list.html", context, status=_polling(context["is_live"]))
    context["versions"] = project.versions()
    return render(request, "projects/detail.html", context)


def _runs_of(request: PageRequest, project: Project) -> dict[str, Any]:
    visible = Run.objects.visible_to(request.user).filter(project=project).kept()
    page = page_of(request, RunFilter(request.GET, queryset=visible).qs, RUNS_A_PAGE)
    return {
        "form": RunListForm(request.GET),
        "page": page,
        "is_live": any(run.status in ACTIVE for run in page.object_list),
    }


def _project(request: PageRequest, project_id: str) -> Project:
    return get_object_or_404(Project.objects.visible_to(request.user), pk=project_id)


# --- one run ---------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest, project_id: str) -> HttpResponse:
    project = _project(request, project_id)
    form = RunForm(request.POST if request.method == "POST" else None)
    form.suggest_project(project)
    if form.is_valid():
        run = attempt(form, actions.create_run, project, by=request.user, **form.configuration)
        if run is not None:
            messages.success(request, _("%(name)s is queued.") % {"name": run.name})
            return redirect("dashboard:run", project.pk, run.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/form.html", {"form": form, "project": project}, status=status)


def _run(request: PageRequest, project_id: str, run_id: str) -> Run:
    visible = Run.objects.visible_to(request.user).select_related(
        "project", "recipe", "worker", "created_by", "resumed_from__run"
    )
    return get_object_or_404(visible, pk=run_id, project=project_id)


@require_safe
def detail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = _run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    context = {
        **_live(run),
        **_artifacts(run),
        **_events(run),
        **_tail(run, form, attempt(form, logs.tail, run, TAIL_LINES, form.filter)),
        "summaries": metrics.summaries(run),
    }
    return render(request, "runs/detail.html", context)


@require_safe
def live(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The run's state. Tells the page's other parts (``run-changed``) when there is news for them:
    anything that the version they were painted with, ``?seen=``, does not know."""
    run = _run(request, project_id, run_id)
    context = _live(run)
    response = render(request, "runs/_live.html", context, status=_polling(not run.is_terminal))
    if request.GET.get("seen") != context["version"]:
        response.headers["HX-Trigger-After-Settle"] = "run-changed"
    return response


def _live(run: Run) -> dict[str, Any]:
    waits = not (run.is_terminal or run.is_external) and run.worker_id is None
    return {
        "run": run,
        "project": run.project,
        "why_waiting": why_waiting(run) if waits else "",
        "version": _version(run),
    }


def _version(run: Run) -> str:
    """Differs whenever the run's history or artifacts do."""
    latest_event = run.events.aggregate(latest=Max("id"))["latest"]
    latest_artifact = run.artifacts.aggregate(latest=Max("updated_at"))["latest"]
    return f"{latest_event}-{latest_artifact.timestamp() if latest_artifact else 0}"


@require_safe
def action_bar(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = _run(request, project_id, run_id)
    return render(request, "runs/_actions.html", {"run": run, "project": run.project})


@require_safe
def artifact_list(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    return render(request, "artifacts/_list.html", _artifacts(_run(request, project_id, run_id)))


def _artifacts(run: Run) -> dict[str, Any]:
    """As many as a page can bear; ``artifact_count`` is None if that is all of them."""
    artifacts = list(run.artifacts.for_people()[: ARTIFACTS_SHOWN + 1])
    there_are_more = len(artifacts) > ARTIFACTS_SHOWN
    return {
        "run": run,
        "project": run.project,
        "artifacts": artifacts[:ARTIFACTS_SHOWN],
        "artifact_count": run.artifacts.count() if there_are_more else None,
    }


@require_safe
def all_artifacts(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """A page of all that the run has, however many files its script logged."""
    run = _run(request, project_id, run_id)
    page = page_of(request, run.artifacts.for_people(), ARTIFACTS_SHOWN)
    context = {"run": run, "project": run.project, "page": page, "artifacts": page.object_list}
    return render(request, "artifacts/list.html", context)


@require_safe
def event_list(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    return render(request, "runs/_events.html", _events(_run(request, project_id, run_id)))


def _events(run: Run) -> dict[str, Any]:
    newest = run.events.select_related("actor", "worker").order_by("-id")[:EVENTS_SHOWN]
    return {"run": run, "project": run.project, "events": newest}


@require_safe
def metric_table(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = _run(request, project_id, run_id)
    context = {"run": run, "project": run.project, "summaries": metrics.summaries(run)}
    return render(request, "runs/_metrics.html", context, status=_polling(not run.is_terminal))


@require_safe
def series(request: PageRequest, project_id: str, run_id: str) -> JsonResponse:
    """The curves of the run's charts; ``over`` says that they will not grow any more."""
    run = _run(request, project_id, run_id)
    return JsonResponse({"over": run.is_terminal, "charts": charts.charts(run)})


# --- its log ---------------------------------------------------------------------------------


@require_safe
def tail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The lines after ``?after=``, and in their wake the element that asks for the next ones."""
    run = _run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    after = min(whole_number(request.GET.get("after"), 0), run.log_count)
    if after == run.log_count and not run.is_terminal:
        return HttpResponse(status=204)
    lines = attempt(form, logs.after, run, after, TAIL_LINES + 1, form.filter)
    skipped = lines is not None and len(lines) > TAIL_LINES
    if skipped:  # the log outruns the reader: show its end
        lines = attempt(form, logs.tail, run, TAIL_LINES, form.filter)
    context = {**_tail(run, form, lines), "skipped": skipped}
    goes_on = lines is not None and not run.is_terminal
    return render(request, "runs/_lines.html", context, status=_polling(goes_on))


def _tail(run: Run, form: LogFilterForm, lines: list[Row] | None) -> dict[str, Any]:
    """``lines``: None if the search was refused."""
    only = {name: form.data[name] for name in TAIL_FILTERS if form.data.get(name)}
    return {
        "run": run,
        "project": run.project,
        "log_form": form,
        "lines": lines,
        "tail_query": urlencode({"after": run.log_count, **only}),
        "download_query": urlencode(only),
    }


@require_safe
def log(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """Any page of the log; the last one for a number past the end."""
    run = _run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    number = max(1, whole_number(request.GET.get("page"), 1))
    found = attempt(form, logs.page, run, number, LOG_LINES_A_PAGE, form.filter) or logs.NOTHING
    paginator = Paginator(range(found.total), LOG_LINES_A_PAGE)
    if number > paginator.num_pages:
        number = paginator.num_pages
        if found.total:
            found = (
                attempt(form, logs.page, run, number, LOG_LINES_A_PAGE, form.filter) or logs.NOTHING
            )
    page: Page[Any] = Page(found.items, number, paginator)
    context = {
        "run": run,
        "project": run.project,
        "log_form": form,
        "page": page,
        "download_query": request.GET.urlencode(),
    }
    return render(request, "runs/log.html", context)


@require_safe
def log_download(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    """The whole log, or what the address filters of it, as a text file."""
    run = _run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    found = attempt(form, logs.download, run, form.filter)
    if found is None:  # the log's page says why
        url = reverse("dashboard:run-log", args=[project_id, run.pk])
        return redirect(f"{url}?{request.GET.urlencode()}")
    return as_file(run, found)


# --- what can be done with it ----------------------------------------------------------------


@require_POST
def cancel(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = _run(request, project_id, run_id)
    run = actions.cancel_run(run, by=request.user, wait_seconds=CANCEL_WAIT_SECONDS)
    if run.is_terminal:
        messages.success(request, run.status_reason)
    else:
        messages.info(request, _("The run is stopping and saves its checkpoint."))
    return redirect("dashboard:run", project_id, run.pk)


@require_POST
def retry(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = actions.retry_run(_run(request, project_id, run_id), by=request.user)
    messages.success(request, _("%(name)s is queued.") % {"name": run.name})
    return redirect("dashboard:run", project_id, run.pk)


# --- workers and the queue -------------------------------------------------------------------


@require_safe
@vary_on_headers("HX-Request")
def workers(request: PageRequest) -> HttpResponse:
    template = "workers/_operations.html" if request.htmx else "workers/detail.html"
    return render(request, template, {"operations": overview.operations()})


def _polling(goes_on: bool) -> int:
    return 200 if goes_on else STOP_POLLING
