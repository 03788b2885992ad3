"""What MLflow's clients ask of the server itself."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from tracking.wire import Nothing, endpoint, protocol_view

# The release of MLflow whose protocol this is.
MLFLOW_VERSION: Final = "3.6.0"
MULTIPART_UPLOADS: Final = False
MULTIPART_DOWNLOADS: Final = False


@login_not_required
@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("OK", content_type="text/plain")


@protocol_view("GET", "HEAD")
def version(request: HttpRequest, caller: User) -> HttpResponse:
    return HttpResponse(MLFLOW_VERSION, content_type="text/plain")


@endpoint("GET", message=Nothing)
def server_info(caller: User, message: Nothing) -> dict[str, Any]:
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "multipart_uploads_enabled": MULTIPART_UPLOADS,
        "multipart_downloads_enabled": MULTIPART_DOWNLOADS,
    }


urlpatterns = [path("3.0/mlflow/server-info", server_info)]
