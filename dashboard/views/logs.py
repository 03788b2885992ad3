"""A run's log: live tail, pages, and download."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from dashboard.forms.logs import LogFilterForm
from dashboard.pages import PageRequest, attempt, whole_number
from dashboard.views.lookups import get_run, poll_status
from logs import reading
from logs.downloads import as_file
from logs.lines import Line
from runs.models import Run

LINES_PER_PAGE = 200
TAIL_LINES = 200  # shown in the live log at first, and the most added per poll
TAIL_FILTERS = ("level", "q", "regex", "source", "rank")  # no time range: the tail keeps growing


@require_safe
def tail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The lines after ``?after=``, followed by the element that polls for the next ones."""
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    after = min(whole_number(request.GET.get("after"), 0), run.log_count)
    if after == run.log_count and not run.is_terminal:
        return HttpResponse(status=204)
    lines = attempt(form, reading.after, run, after, TAIL_LINES + 1, form.filter)
    skipped = lines is not None and len(lines) > TAIL_LINES
    if skipped:  # the log grows faster than the page polls: show its end
        lines = attempt(form, reading.tail, run, TAIL_LINES, form.filter)
    context = {**tail_context(run, form, lines), "skipped": skipped}
    has_more = lines is not None and not run.is_terminal
    return render(request, "runs/_lines.html", context, status=poll_status(has_more))


def tail_context(run: Run, form: LogFilterForm, lines: list[Line] | None) -> dict[str, Any]:
    """``lines`` is None if the search was rejected."""
    log_filter = {name: form.data[name] for name in TAIL_FILTERS if form.data.get(name)}
    return {
        "run": run,
        "project": run.project,
        "log_form": form,
        "lines": lines,
        "tail_query": urlencode({"after": run.log_count, **log_filter}),
        "download_query": urlencode(log_filter),
    }


@require_safe
def log(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """One page of the log; the last one if the number is past the end."""
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    number = max(1, whole_number(request.GET.get("page"), 1))
    matches = (
        attempt(form, reading.page, run, number, LINES_PER_PAGE, form.filter) or reading.NOTHING
    )
    paginator = Paginator(range(matches.total), LINES_PER_PAGE)
    if number > paginator.num_pages:
        number = paginator.num_pages
        if matches.total:
            matches = (
                attempt(form, reading.page, run, number, LINES_PER_PAGE, form.filter)
                or reading.NOTHING
            )
    page: Page[Any] = Page(matches.items, number, paginator)
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
    """The log as a text file, filtered by the query parameters."""
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    lines = attempt(form, reading.download, run, form.filter) if form.is_valid() else None
    if lines is None:  # the log page shows the error
        url = reverse("dashboard:run-log", args=[project_id, run.pk])
        return redirect(f"{url}?{request.GET.urlencode()}")
    return as_file(run, lines)
