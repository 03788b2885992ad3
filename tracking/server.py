"""MLflow server endpoints: health, version, server info."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from artifacts.direct_transfers import direct_transfers
from tracking.protocol import Empty, endpoint, protocol_view

# The MLflow release whose protocol is implemented.
MLFLOW_VERSION: Final = "3.6.0"


@login_not_required
@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("OK", content_type="text/plain")


@protocol_view("GET", "HEAD")
def version(request: HttpRequest, caller: User) -> HttpResponse:
    return HttpResponse(MLFLOW_VERSION, content_type="text/plain")


@endpoint("GET", message=Empty)
def server_info(caller: User, message: Empty) -> dict[str, Any]:
    is_direct = direct_transfers() is not None
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "multipart_uploads_enabled": is_direct,
        "multipart_downloads_enabled": is_direct,
    }


urlpatterns = [path("3.0/mlflow/server-info", server_info)]
