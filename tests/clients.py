"""JSON over Django's test client."""

import json
from typing import Any

from django.core.signals import request_started
from django.db import close_old_connections
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client
from django.test.client import ClientHandler

from core.handler import REQUEST, Handler


class ApiClient(Client):
    """Sends JSON to an open-mode server on loopback, through the handler of the web server."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(SERVER_NAME="localhost", **kwargs)
        self.handler = _ThroughHandler(enforce_csrf_checks=self.handler.enforce_csrf_checks)

    def post_json(self, path: str, body: Any = None, **extra: Any) -> Any:
        return self.post(path, json.dumps(body or {}), content_type="application/json", **extra)

    def patch_json(self, path: str, body: Any) -> Any:
        return self.patch(path, json.dumps(body), content_type="application/json")


class _InTransaction(Handler):
    """Keeps the test's connection, as Django's client does."""

    def close_old_connection(self) -> None:
        pass

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request_started.disconnect(close_old_connections)
        try:
            return super().__call__(environ, start_response)
        finally:
            request_started.connect(close_old_connections)


class _ThroughHandler(ClientHandler):
    def load_middleware(self, is_async: bool = False) -> None:
        self._middleware_chain = _InTransaction()

    def get_response(self, request: Any) -> HttpResponseBase:
        started: list[Any] = []
        request.environ[REQUEST] = request  # it says whether CSRF is checked
        content = self._middleware_chain(request.environ, lambda *status: started.extend(status))
        if isinstance(content, HttpResponseBase):
            return content
        status, headers = started
        return HttpResponse(
            b"".join(content), status=int(status.partition(" ")[0]), headers=dict(headers)
        )
