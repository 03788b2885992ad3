"""A project's runs: the table, its live rows, completion of its filter, and export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef
from django.db.models.functions import Coalesce, Greatest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header, urlencode
from django.views.decorators.http import require_safe

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from core.text import neutral
from dashboard.charts.words import words
from dashboard.live import live
from dashboard.models import DefaultView, SavedView
from dashboard.pages import PageRequest, whole_number
from dashboard.run_table import completion, query
from dashboard.run_table.address import (
    FILTERS,
    NO_FILTERS,
    Address,
    escape,
    parse_columns,
    table_url,
)
from dashboard.run_table.cells import export_value
from dashboard.run_table.choices import columns_menu, group_choices, sweep_choices
from dashboard.run_table.columns import NAME, Column
from dashboard.run_table.defaults import default_columns, shown_columns
from dashboard.run_table.table import (
    group_heads,
    group_lines,
    grouped_columns,
    head,
    heads,
    lines,
)
from dashboard.views.lookups import get_project
from projects.models import Project
from runs.models import Run, RunQuerySet
from runs.status import RunStatus
from sweeps.models import Sweep
from tracking.errors import InvalidParameter

PAGE_SIZE = 50
MAX_CURVES = 20  # in the chart above the table
CSV_LINES_PER_CHUNK = 500


def runs_of(request: PageRequest, project: Project, address: Address) -> RunQuerySet:
    """The runs of the project that the user may see: those that are listed, or, if the address asks
    for it, those in the trash."""
    runs = Run.objects.visible_in(project.pk, request.user)
    return runs.listed().exclude(deleted_at=None) if address.in_trash else runs.kept()


@require_safe
def project_runs(request: PageRequest, project_id: str) -> HttpResponse:
    """A page of the project's runs; columns, order, filters and groups are in the query."""
    project = get_project(request, project_id)
    view = _view_to_open(request, project)
    if view is not None:
        return redirect(f"{request.path}?{urlencode({'view': view.pk})}&{view.query}".rstrip("&"))
    return render(request, "projects/detail.html", _page(request, project))


def _view_to_open(request: PageRequest, project: Project) -> SavedView | None:
    """The view to go to: the one that the address names alone, or, if it is bare, the user's own
    choice. An address with more than that is shown as it is, so that it shows everybody the same.
    """
    if set(request.GET) - {"view"}:
        return None
    views = SavedView.objects.visible_to(request.user).filter(project=project)
    if "view" in request.GET:
        view = views.filter(pk=request.GET["view"].replace("\x00", "")).first()
        return view if view is not None and view.query else None
    return views.filter(default_of__user=request.user).first()


def _page(request: PageRequest, project: Project) -> dict[str, Any]:
    address = Address.of(request.GET)
    known = query.known_columns(project)
    default = default_columns(known)
    columns = shown_columns(address.columns, default)
    runs = runs_of(request, project, address)
    sweeps = Sweep.objects.visible_to(request.user).filter(project=project)
    context: dict[str, Any] = {
        "project": project,
        "address": address,
        "known": known,
        "statuses": RunStatus,
        "tag_values": TagValue,
        "sweeps": sweep_choices(sweeps, address.sweep),
        "column_choices": columns_menu(known, columns),
        "group_choices": group_choices(known, address),
        "hidden_for_columns": address.pairs("columns"),
        "hidden_for_filters": address.pairs(*FILTERS),
        "cleared": address.but(**NO_FILTERS),
        "ungrouped": address.but(group=None),
        "completions": completion.values(),
        "examples": [
            (example, address.but(filter=example.text)) for example in completion.examples(known)
        ],
        "shown_curves": _shown_curves(request, runs),
        "chart_words": words(),
        **_views(request, project, address),
    }
    try:
        return {**context, **_found(project, runs, address, columns, known)}
    except InvalidParameter as error:
        return {
            **context,
            "error": error.message,
            "marked": _marked(address.filter, error.position),
            "unsorted": address.but(sort=None) if isinstance(error, query.TooManyToSort) else None,
        }


def _shown_curves(request: PageRequest, runs: RunQuerySet) -> list[dict[str, str]]:
    """The runs in ``?curves=``, in that order, whose curves the page shows."""
    ids = [pk for pk in request.GET.get("curves", "").replace("\x00", "").split(",") if pk]
    if not ids:
        return []
    ids = ids[:MAX_CURVES]
    names = dict(runs.filter(pk__in=ids).values_list("pk", "name"))
    return [{"run": pk, "name": names[pk]} for pk in dict.fromkeys(ids) if pk in names]


def _runs_url(project: Project) -> str:
    return reverse("dashboard:project", args=[project.pk]) + "/runs"


def _found(
    project: Project, runs: RunQuerySet, address: Address, columns: list[Column], known: query.Known
) -> dict[str, Any]:
    if address.group is not None:
        metrics = grouped_columns(columns)
        groups = query.groups(runs, address, address.group, metrics)
        return {
            "grouped_by": head(address.group, address, is_numeric=False),
            "heads": group_heads(address, columns),
            "groups": group_lines(address, address.group, columns, groups),
            "at_most": query.MAX_GROUPS,
        }
    now = timezone.now()
    page = query.page(runs, address, columns, size=PAGE_SIZE, main=known.main_metric)
    pages = max(1, -(-page.total // PAGE_SIZE))
    found_heads = heads(address, columns, page.rows)
    return {
        "page": page,
        "pages": pages,
        "previous": address.on_page(page.number - 1) if page.number > 1 else None,
        "next": address.on_page(page.number + 1) if page.number < pages else None,
        "refreshed": address.but(),
        "name_head": head(NAME, address, is_numeric=False),
        "heads": found_heads,
        "lines": lines(found_heads, page.rows, runs_url=_runs_url(project)),
        "live_query": _live_query(address, columns, page, now),
    }


def _marked(text: str, position: int | None) -> tuple[str, str, str] | None:
    """The filter in three parts, of which the second is at fault."""
    if position is None:
        return None
    rest = text[position:].split(maxsplit=1)
    word = rest[0] if rest else ""
    end = position + max(len(word), 1)
    return text[:position], text[position:end] or " ", text[end:]


def _views(request: PageRequest, project: Project, address: Address) -> dict[str, Any]:
    visible = SavedView.objects.visible_to(request.user).filter(project=project)
    own_default = DefaultView.objects.filter(view=OuterRef("pk"), user=request.user)
    views = list(visible.select_related("owner").annotate(opens_first=Exists(own_default)))
    current = next((view for view in views if view.pk == address.view), None)
    return {
        "views": views,
        "current_view": current,
        "is_own_view": current is not None and current.owner_id == request.user.pk,
        "is_changed_view": current is not None and current.query != address.view_query,
    }


# --- live rows -------------------------------------------------------------------------------


def _live_query(address: Address, columns: list[Column], page: query.Page, now: datetime) -> str:
    """Names the shown rows, so that they keep their order, and when they were read."""
    parts: dict[str, str | int] = {
        "rows": ",".join(row.run.pk for row in page.rows),
        "shown": ",".join(escape(column.spec) for column in columns),
        "since": int(now.timestamp() * 1000),
    }
    return f"{urlencode(parts)}&{address.query}".replace("%2C", ",").rstrip("&")


def _rows_shown(request: PageRequest) -> tuple[list[str], datetime]:
    ids = [pk for pk in request.GET.get("rows", "").split(",") if pk][:PAGE_SIZE]
    since = min(whole_number(request.GET.get("since"), 0), 253_402_300_799_000) / 1000
    return [pk.replace("\x00", "") for pk in ids], datetime.fromtimestamp(since, UTC)


def _rows_version(request: PageRequest, project_id: str) -> str:
    """Changes with what the shown rows say, as time passes too, with which of them there still are,
    with the tags of their checkpoints, and with the number of new runs."""
    ids, since = _rows_shown(request)
    runs = runs_of(request, get_project(request, project_id), Address.of(request.GET))
    shown = runs.filter(pk__in=ids)
    changed = shown.aggregate(
        count=Count("pk"), latest=Max(Greatest("updated_at", Coalesce("reported_at", "updated_at")))
    )
    tags = ArtifactTag.objects.filter(artifact__run__in=ids, artifact__deletion=None)
    tagged = tags.aggregate(count=Count("pk"), last=Max("pk"))
    silent = [
        run.pk
        for run in shown.filter(status=RunStatus.RUNNING).only(
            "status", "recipe_id", "attempt_started_at", "reported_at"
        )
        if run.silent_since
    ]
    new = runs.filter(created_at__gt=since).count()
    return f"{changed} {tagged} {sorted(silent)} {new}"


@require_safe
@live(_rows_version)
def live_rows(request: PageRequest, project_id: str) -> HttpResponse:
    """The rows that a page shows, as they are now, and how many runs are new since."""
    project = get_project(request, project_id)
    address = Address.of(request.GET)
    runs = runs_of(request, project, address)
    ids, since = _rows_shown(request)
    columns = list(parse_columns([request.GET.get("shown", "")]))
    main = query.known_columns(project).main_metric
    rows = query.rows(runs, ids, columns, main=main)
    found_heads = heads(address, columns, rows)
    try:
        new = query.count(runs.filter(created_at__gt=since), address)
    except InvalidParameter:
        new = 0
    context = {
        "project": project,
        "address": address,
        "name_head": head(NAME, address, is_numeric=False),
        "heads": found_heads,
        "lines": lines(found_heads, rows, runs_url=_runs_url(project)),
        "live_query": request.GET.urlencode(),
        "refreshed": address.but(),
        "new": new,
    }
    return render(request, "runs/_live_rows.html", context)


# --- completion and export -------------------------------------------------------------------


@require_safe
def column_names(request: PageRequest, project_id: str) -> JsonResponse:
    """The names that a filter may have where ``?q=`` is being typed."""
    project = get_project(request, project_id)
    part = request.GET.get("q", "")[:300]
    found = completion.names(query.known_columns(project), part)
    return JsonResponse({"names": [{"text": item.text, "what": item.what} for item in found]})


@require_safe
def table_csv(request: PageRequest, project_id: str) -> HttpResponse | StreamingHttpResponse:
    """The whole table that the address asks for, all pages, as CSV (RFC 4180)."""
    project = get_project(request, project_id)
    address = Address.of(request.GET)
    known = query.known_columns(project)
    columns = shown_columns(address.columns, default_columns(known))
    runs = runs_of(request, project, address)
    try:
        found = query.all_rows(runs, address, columns, main=known.main_metric)
    except InvalidParameter:  # the page shows where
        return redirect(table_url(project.pk, address.query))
    response = StreamingHttpResponse(
        _csv(columns, found), content_type="text/csv; charset=utf-8; header=present"
    )
    name = f"{project.name}.csv"
    disposition = content_disposition_header(as_attachment=True, filename=name)
    response["Content-Disposition"] = disposition or ""
    return response


def _csv(columns: list[Column], rows: Iterator[query.Row]) -> Iterator[str]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["run_id", "name", *(neutral(column.spec) for column in columns)])
    for number, row in enumerate(rows, start=1):
        values = (export_value(column, row) for column in columns)
        writer.writerow([row.run.pk, neutral(row.run.name), *values])
        if number % CSV_LINES_PER_CHUNK == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
