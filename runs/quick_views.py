"""What programs ask of a run again and again, without DRF's machinery: see trainhub/quick.py."""

from __future__ import annotations

from typing import Final

import orjson
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from accounts.authentication import caller_of
from accounts.permissions import sees_everything
from runs import ingestion, metric_batches
from runs.run_json import run_detail
from trainhub.exceptions import DomainError
from trainhub.json import read_bounded

ANY_JSON: Final = frozenset({"", "*/*", "application/json"})


def detail(request: HttpRequest, project_id: str, id: str) -> HttpResponse | None:
    if request.method != "GET" or request.META.get("HTTP_ACCEPT", "") not in ANY_JSON:
        return None
    try:
        caller = caller_of(request)
    except APIException:
        return None
    content = run_detail(project_id, id) if sees_everything(caller) else None
    return None if content is None else _json(content)


def send_metrics(request: HttpRequest, project_id: str, id: str) -> HttpResponse | None:
    if request.method != "POST" or request.content_type != "application/json":
        return None
    try:
        if not sees_everything(caller_of(request)):
            return None
        points = metric_batches.read(read_bounded(request))
        ingestion.record_points(id, points, project_id=project_id)
    except (APIException, DomainError, ingestion.RunGone):
        return None
    return _json(orjson.dumps({"count": len(points)}))


def _json(content: bytes) -> HttpResponse:
    return HttpResponse(content, content_type="application/json")
