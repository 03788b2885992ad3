"""A minimal Django app: one view that returns {}, no middleware, no database.

python -m benchmarks.bare_django PORT serves it with the settings of trainhub/up/web_server.py.
"""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server

PROCESSES, THREADS = 2, 8  # TRAINHUB_WEB_PROCESSES, TRAINHUB_WEB_THREADS

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.bare_django",
        SECRET_KEY="none",  # noqa: S106  signs nothing
        MIDDLEWARE=[],
    )


def empty(request: HttpRequest, rest: str) -> HttpResponse:
    # Without it granian sends chunks; in TrainHub a middleware sets it.
    return HttpResponse(b"{}", headers={"Content-Length": "2"}, content_type="application/json")


urlpatterns = [path("<path:rest>", empty), path("", empty, {"rest": ""})]
application = get_wsgi_application()


def serve(port: int) -> None:
    server = Server(
        target="benchmarks.bare_django:application",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        workers=PROCESSES,
        blocking_threads=THREADS,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
    )
    server.serve()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
