"""Whether this server serves (/healthz), and whether it can do its work (/readyz)."""

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as soon as the server can serve; touches nothing else."""
    return JsonResponse({"status": "ok"})


@login_not_required
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and has every migration, else 503 and which of them fails.

    Like every address but /healthz it asks who calls, where sign-in is needed: 401 then says that
    the server is ready, and no more.
    """
    database, migrations = look_at_database()
    if database and migrations:
        return Ready.as_view()(request)
    content = {"status": "unavailable", "database": database, "migrations": migrations}
    return JsonResponse(content, status=503)


class Ready(APIView):
    """Answers members, by the API's own authentication; that needs a database to ask."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok", "database": True, "migrations": True})


def look_at_database() -> tuple[bool, bool]:
    """(it answers, it has every migration that this code knows)."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return False, False
    return True, not pending
