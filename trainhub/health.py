"""Health checks: liveness (/healthz) and readiness (/readyz)."""

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.migration_state import has_every_migration


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 if the server responds; does not access the database. nginx answers it by itself, so that
    it does not wait for a thread."""
    return JsonResponse({"status": "ok"})


@login_not_required
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 if the database answers and has every migration, else 503 and which of the two fails.

    Unlike /healthz, it requires authentication if sign-in is required: a 401 then also means that
    the server is ready.
    """
    database, migrations = check_database()
    if database and migrations:
        return Ready.as_view()(request)
    content = {"status": "unavailable", "database": database, "migrations": migrations}
    return JsonResponse(content, status=503)


class Ready(APIView):
    """The 200 response. A DRF view, for the API's authentication, which needs the database."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok", "database": True, "migrations": True})


@login_not_required
@never_cache
def signed_in(request: HttpRequest) -> HttpResponse:
    """401 or 403 if the caller may not upload anything at all, 503 if that cannot be told; asked by
    nginx before it takes the body. Any other problem is the upload's own to report."""
    response = SignedIn.as_view()(request)
    is_answer = response.status_code in {401, 403} or response.status_code >= 500
    return response if is_answer else HttpResponse(status=204)


class SignedIn(APIView):
    """A DRF view, for the API's authentication. What a script may upload is decided there."""

    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return Response(status=204)


def check_database() -> tuple[bool, bool]:
    """(whether the database answers, whether all migrations are applied)."""
    try:
        return True, has_every_migration()
    except Error:  # also of a connection that was lost
        return False, False
