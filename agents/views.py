"""POST /mcp: Streamable HTTP of MCP, without sessions and without streams.

The SDK is an ASGI application; here it answers one request of WSGI at a time.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import orjson
from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, MethodNotAllowed, PermissionDenied

from accounts.authentication import caller_of
from accounts.open_mode import is_cross_origin
from accounts.permissions import refusal_of_script, script_run_of
from agents.rest import Rest
from agents.tool import Caller
from core.exceptions import DomainError
from core.json import read_bounded

INVALID_REQUEST: Final = -32600  # of JSON-RPC 2.0
UNAUTHORIZED: Final = 401


@csrf_exempt  # it takes no session
@login_not_required
def mcp(request: HttpRequest) -> HttpResponse:
    """A message of JSON-RPC and its answer, with the token, roles and limits of the REST API.

    Errors of HTTP have the shape of JSON-RPC, too, as clients show their message.
    """
    try:
        caller = _caller(request)
        body = read_bounded(request)
    except (APIException, DomainError) as error:
        return _refusal(error)
    exchange = importlib.import_module("agents.exchange")  # with the SDK
    answer: HttpResponse = async_to_sync(exchange.answered)(request, caller, body)
    return answer


def _caller(request: HttpRequest) -> Caller:
    """Raises APIException, DomainError."""
    if is_cross_origin(request):
        raise PermissionDenied(_("Cross-origin requests are refused."))
    user = caller_of(request)
    if request.method != "POST":  # GET would open a stream, DELETE end a session: there are none
        raise MethodNotAllowed(request.method or "")
    if run_id := script_run_of(user):
        raise PermissionDenied(refusal_of_script(run_id))
    return Caller(user, Rest(request))


def _refusal(error: APIException | DomainError) -> HttpResponse:
    message = error.detail if isinstance(error, APIException) else error.message
    content = {"code": INVALID_REQUEST, "message": str(message)}
    body = orjson.dumps({"jsonrpc": "2.0", "id": None, "error": content})
    response = HttpResponse(body, status=error.status_code, content_type="application/json")
    if error.status_code == UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        response["Allow"] = "POST"
    wait: Any = getattr(error, "retry_seconds", None)
    if wait is not None:
        response["Retry-After"] = str(wait)
    return response
