"""The API's most frequent questions, answered without Django REST framework's machinery.

Only the plain case is answered here. Everything else (errors, other methods, browsers' sessions)
goes the way of the viewset, so that there is one place that says what those are.
"""

from __future__ import annotations

from typing import Final

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException

from accounts.api import caller_of
from accounts.permissions import sees_everything
from runs.run_json import run_detail
from runs.viewsets import RunViewSet

DETAIL: Final = RunViewSet.as_view({"get": "retrieve"}, basename="run", detail=True)
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
