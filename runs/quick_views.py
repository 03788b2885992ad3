"""The API's most frequent questions, answered without Django REST framework's machinery.

Only the plain case is answered here. Everything else (errors, other methods, browsers' sessions)
goes the way of the viewset, so that there is one place that says what those are.
"""

from __future__ import annotations

from typing import Final

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException

from accounts.api import caller_of
from accounts.permissions import sees_everything
from runs import ingestion, metric_batches, queries
from runs.run_json import run_detail
from runs.viewsets import RunViewSet
from trainhub.exceptions import DomainError

DETAIL: Final = RunViewSet.as_view({"get": "retrieve"}, basename="run", detail=True)
METRICS: Final = RunViewSet.as_view(
    {"get": "metrics", "post": "send_metrics"},
    basename="run",
    detail=True,
    **RunViewSet.metrics.kwargs,  # what @action notes
)
ANY_JSON: Final = frozenset({"", "*/*", "application/json"})


@csrf_exempt  # the viewset checks it for sessions
@login_not_required  # and permissions
def quick_detail(request: HttpRequest, project_id: str, id: str) -> HttpResponseBase:
    if request.method == "GET" and request.headers.get("Accept", "") in ANY_JSON:
        content = _detail(request, project_id, id)
        if content is not None:
            return HttpResponse(content, content_type="application/json")
    return DETAIL(request, project_id=project_id, id=id)


def _detail(request: HttpRequest, project_id: str, id: str) -> bytes | None:
    try:
        caller = caller_of(request)
    except APIException:
        return None
    return run_detail(project_id, id) if sees_everything(caller) else None


@csrf_exempt  # as above
@login_not_required
def quick_metrics(request: HttpRequest, project_id: str, id: str) -> HttpResponseBase:
    if request.method == "POST" and request.content_type == "application/json":
        body = request.read(settings.MAX_JSON_BYTES + 1)
        request._body = body  # should the viewset have to read it too
        count = _record(request, project_id, id, body)
        if count is not None:
            return HttpResponse(orjson.dumps({"count": count}), content_type="application/json")
    return METRICS(request, project_id=project_id, id=id)


def _record(request: HttpRequest, project_id: str, run_id: str, body: bytes) -> int | None:
    """How many points were taken in; None for whatever the viewset has to answer."""
    if len(body) > settings.MAX_JSON_BYTES:
        return None
    try:
        if not (
            sees_everything(caller_of(request)) and queries.run_is_of_project(run_id, project_id)
        ):
            return None
        points = metric_batches.read(body)
        ingestion.record_points(run_id, points)
    except (APIException, DomainError, ingestion.RunGone):
        return None
    return len(points)
