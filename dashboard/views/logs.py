"""A run's log: live tail, pages, places in it, and download."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from dashboard.forms.logs import LogFilterForm, LogPlaceForm
from dashboard.log_places import place_of
from dashboard.pages import INVALID_FORM, PageRequest, attempt, whole_number
from dashboard.run_header import run_context
from dashboard.views.lookups import get_run, poll_status
from logs import reading
from logs.downloads import as_file
from logs.lines import Line
from runs.models import Run

LINES_PER_PAGE = 200
TAIL_LINES = 200  # shown in the live log at first, and the most added per poll
LINES_BEFORE = 60  # the place that the docked log jumps to
AFTER = "X-Log-After"
TAIL_FILTERS = ("level", "q", "regex", "source", "rank")  # no time range: the tail keeps growing


@require_safe
def tail(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The lines after ``?after=``; the header AFTER tells what to ask for next. 204 if there are
    none, 286 after the last ones."""
    run = get_run(request, project_id, run_id)
    form = LogFilterForm(request.GET)
    after = min(whole_number(request.GET.get("after"), 0), run.log_count)
    if after == run.log_count and not run.is_terminal:
        return HttpResponse(status=204)
    lines = attempt(form, reading.after, run, after, TAIL_LINES + 1, form.filter)
    skipped = lines is not None and len(lines) > TAIL_LINES
    if skipped:  # the log grows faster than the page asks: show its end
        lines = attempt(form, reading.tail, run, TAIL_LINES, form.filter)
    context = {**tail_context(run, form, lines), "skipped": skipped}
    has_more = lines is not None and not run.is_terminal
    response = render(request, "runs/_lines.html", context, status=poll_status(has_more))
    response.headers[AFTER] = str(run.log_count)
    return response


def tail_context(run: Run, form: LogFilterForm, lines: list[Line] | None) -> dict[str, Any]:
    """``lines`` is None if the search was rejected."""
    log_filter = {name: form.data[name] for name in TAIL_FILTERS if form.data.get(name)}
    return {
        "run": run,
        "project": run.project,
        "log_form": form,
        "jump_form": LogPlaceForm(form.data),
        "lines": lines,
        "tail_query": urlencode(log_filter),
        "download_query": urlencode(log_filter),
    }


@require_safe
def lines_around(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """The lines around a place (see dashboard.log_places), which is marked, for the docked log."""
    run = get_run(request, project_id, run_id)
    form = LogPlaceForm(request.GET)
    place = attempt(form, place_of, run, request.GET)
    context: dict[str, Any] = {"run": run, "project": run.project, "jump_form": form}
    if place is not None:
        first = max(0, place.line - LINES_BEFORE - 1)
        context |= {"lines": reading.after(run, first, LINES_PER_PAGE), "marked": place.line}
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/_lines.html", context, status=status)


@require_safe
def log(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """One page of the log, the last one if the number is past the end; or that of the line in
    ``?at_line=``, without a filter. Other places lead to their line."""
    run = get_run(request, project_id, run_id)
    jump_form = LogPlaceForm(request.GET)
    place = attempt(jump_form, place_of, run, request.GET)
    if place is not None and "at_line" not in request.GET:
        url = reverse("dashboard:run-log", args=[project_id, run.pk])
        return redirect(f"{url}?at_line={place.line}#line-{place.line}")
    form = LogFilterForm(request.GET if place is None else QueryDict())
    number = max(1, whole_number(request.GET.get("page"), 1))
    if place is not None:
        number = (max(1, place.line) - 1) // LINES_PER_PAGE + 1
    is_filtered = bool(form.filter)  # before it is tried, which notes the errors in the form
    context = {
        **run_context(run, "log"),
        "log_form": form,
        "jump_form": jump_form,
        "page": _page(run, form, number),
        "marked": None if place is None else place.line,
        "is_filtered": is_filtered,
        "download_query": "" if place else request.GET.urlencode(),
    }
    return render(request, "runs/log.html", context)


def _page(run: Run, form: LogFilterForm, number: int) -> Page[Any]:
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
    return Page(matches.items, number, paginator)


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
