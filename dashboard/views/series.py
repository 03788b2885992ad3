"""The data of charts: curves of a run or of several, as JSON, CSV and pictures, and what a page may
draw."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlencode

import orjson
from django.http import HttpResponse, HttpResponseNotModified, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from dashboard.charts import layout, lineage, marks
from dashboard.charts.series import InvalidQuery, SeriesQuery, as_csv, as_json
from dashboard.charts.words import words
from dashboard.pages import PageRequest
from dashboard.theme import theme_of_pictures
from dashboard.views.lookups import get_run
from metrics import curves, plots
from metrics.plot_requests import MAX_TITLE_LENGTH, PlotQuerySerializer, picture, svg_response
from runs.models import Run


@require_safe
def run_series(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    """Curves of the run, and with ``?run=`` also of others: see dashboard/charts/series.py."""
    return _series(request, get_run(request, project_id, run_id).pk, as_file="")


@require_safe
def run_series_csv(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    run = get_run(request, project_id, run_id)
    return _series(request, run.pk, as_file=f"{run.pk}.csv")


@require_safe
def series(request: PageRequest) -> HttpResponseBase:
    """Curves of the runs in ``?run=``, of any project."""
    return _series(request, "", as_file="")


@require_safe
def series_csv(request: PageRequest) -> HttpResponseBase:
    return _series(request, "", as_file="curves.csv")


def _series(request: PageRequest, default_run: str, *, as_file: str) -> HttpResponseBase:
    """304 while no point was added to any of the curves asked for."""
    try:
        query = SeriesQuery.of(request.GET)
    except InvalidQuery as error:
        return JsonResponse({"detail": str(error.message)}, status=400)
    run_ids = curves.readable(query.run_ids) or [default_run]
    if run_ids != [default_run]:
        visible = Run.objects.visible_to(request.user).filter(pk__in=run_ids, deleted_at=None)
        run_ids = list(visible.values_list("pk", flat=True))
    stored = query.find(run_ids)
    if as_file:
        response = StreamingHttpResponse(as_csv(query.read(stored)), content_type="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="{as_file}"'
        return response
    etag = f'"{curves.version(stored)}"'
    if request.headers.get("If-None-Match") == etag:
        return _cached(HttpResponseNotModified(), etag)
    return _cached(HttpResponse(as_json(query.read(stored)), "application/json"), etag)


@require_safe
def run_plot(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    """A picture of curves, for pages without scripts: ``…/metrics/plot.svg`` with the session of
    the page."""
    run = get_run(request, project_id, run_id)
    params: dict[str, Any] = {**request.GET.dict(), "keys": request.GET.getlist("keys")}
    query = PlotQuerySerializer(data=params)
    if not query.is_valid():
        return JsonResponse({"detail": query.errors}, status=400)
    etag = f'"{curves.version(curves.find([run.pk], query.validated_data["keys"]))}"'
    if request.headers.get("If-None-Match") == etag:
        return _cached(HttpResponseNotModified(), etag)
    content = picture(run, query.validated_data, plots.plot_svg)
    return _cached(svg_response(content), etag)


@require_safe
def run_charts(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    """What the page of a run may draw: see chart_list."""
    run = get_run(request, project_id, run_id)
    content = orjson.dumps(chart_list(request, run))
    etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        return _cached(HttpResponseNotModified(), etag)
    return _cached(HttpResponse(content, "application/json"), etag)


def charts_context(request: PageRequest, run: Run) -> dict[str, object]:
    """What templates/runs/_charts.html shows; it also needs ``run`` and ``project``."""
    found = chart_list(request, run)
    address = reverse("dashboard:run-plot", args=[run.project_id, run.pk])
    theme = theme_of_pictures(request)
    pictures = []
    for section in layout.sections(run.metrics):
        for chart in section["charts"]:
            title = chart["title"][:MAX_TITLE_LENGTH]
            query = urlencode({"keys": chart["keys"], "title": title, "theme": theme}, doseq=True)
            pictures.append({"title": title, "url": f"{address}?{query}"})
    return {"chart_list": found, "chart_words": words(), "chart_pictures": pictures}


def chart_list(request: PageRequest, run: Run) -> dict[str, object]:
    """The charts of the run in sections, the runs whose curves it continues, and the marks on the
    axis, as static/js/charts/page.js reads them."""
    parts = lineage.segments(run, request.user)
    keys = {key for part in parts for key in part.run.metrics}
    return {
        "sections": layout.sections(keys),
        "segments": [
            {
                "run": part.run.pk,
                "name": part.run.name,
                "until": part.until_step,
                "started_ms": marks.started_ms(part.run),
                "log_url": reverse("dashboard:run-log", args=[part.run.project_id, part.run.pk]),
            }
            for part in parts
        ],
        "marks": marks.marks(parts),
        "finished": run.is_terminal,
    }


def _cached(response: HttpResponseBase, etag: str) -> HttpResponseBase:
    response.headers["ETag"] = etag
    patch_cache_control(response, private=True, no_cache=True)
    return response
