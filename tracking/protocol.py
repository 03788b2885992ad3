"""MLflow's REST protocol on the wire: decoding requests, encoding responses and errors.

Follows protobuf's JSON mapping: 64-bit integers may be strings; NaN and the infinities are the
strings "NaN", "Infinity", "-Infinity"; unknown fields are ignored.
https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper, wraps
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_origin

import msgspec
import orjson
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from accounts.authentication import caller_of
from accounts.grants import grant_of, needing
from accounts.permissions import (
    refusal_of_scope,
    refusal_of_script,
    script_run_of,
    sees_everything,
)
from accounts.roles import Role
from core import refusals
from core.database_errors import problem_of
from core.handler import raise_direct_error
from core.json import read_bounded
from projects.permissions import default_role
from tracking.errors import InvalidParameter, MlflowError, Unseen, as_mlflow_error
from tracking.malformed import malformed

logger = logging.getLogger(__name__)


class Message(msgspec.Struct):
    """A request. Each endpoint has a subclass, whose fields are named as in the protocol."""


class Empty(Message):
    """A request without fields."""


# What mlflow.genai.evaluate, mlflow.trace and the like ask for, and OpenTelemetry's exporters.
NOT_KEPT: Final = re.compile(
    r"\A/v1/traces|/mlflow/(?:(?:unified-|get-online-)?trace|spans|assessments|evaluations|scorers|"
    r"datasets|issues|label|review-queues|prompt-optimization)"
)

# What a run's script may call with its token; the handlers limit it to the run. What is missing:
# other experiments, deleting and restoring, the model registry.
FOR_SCRIPTS: Final = re.compile(
    r"/version\Z|/api/(?:3\.0/mlflow/server-info\Z|2\.0/(?:mlflow-artifacts/|mlflow/(?:"
    r"runs/(?!delete\Z|restore\Z)|metrics/|artifacts/list\Z|logged-models|"
    r"experiments/(?:get|get-by-name|search)\Z)))"
)

M = TypeVar("M", bound=Message)
JsonObject: TypeAlias = Mapping[str, Any]
Response: TypeAlias = JsonObject | HttpResponseBase


class View:
    """An endpoint of the protocol, served by ``handle(request, caller, **path arguments)``.

    What it finds are rows for which the caller has ``role``; if that is None, viewers read and
    members change.

    Expected TrainHub errors become MLflow errors. Any other exception is a bug, which Django turns
    into a 500.
    """

    csrf_exempt = True  # callers send tokens, see caller_of
    login_required = False  # the view authenticates callers itself

    def __init__(
        self, handle: Callable[..., Response], methods: Sequence[str], role: Role | None
    ) -> None:
        update_wrapper(self, handle)
        self._role = role
        self._handle = handle
        self._methods = methods

    def __call__(self, request: HttpRequest, **arguments: str) -> HttpResponseBase:
        try:
            return self._respond(request, arguments)
        except Exception as error:
            problem = problem_of(error)
            mlflow_error = as_mlflow_error(problem or error)
            if mlflow_error is None:
                raise
            response = error_response(mlflow_error)
            if problem is not None:
                refusals.count(problem, error)
                refusals.mark_as_logged(response)
            return response

    def _respond(self, request: HttpRequest, arguments: dict[str, str]) -> HttpResponseBase:
        raise_direct_error(request)
        response = self._response(request, arguments)
        return response if isinstance(response, HttpResponseBase) else json_response(response)

    def _response(self, request: HttpRequest, arguments: dict[str, str]) -> Response:
        caller = caller_of(request)  # first, so that unauthenticated callers learn nothing
        if request.method not in self._methods:
            raise MlflowError("ENDPOINT_NOT_FOUND", _("Endpoint not found."))
        run_id = script_run_of(caller)
        if run_id and not FOR_SCRIPTS.match(request.path_info) and self is not endpoint_not_found:
            raise MlflowError("PERMISSION_DENIED", refusal_of_script(run_id))
        role = self._role or default_role(request.method)
        if not sees_everything(caller, role=role):
            if grant_of(caller).highest_role < role:
                raise MlflowError("PERMISSION_DENIED", refusal_of_scope())
            caller = needing(caller, role)
        try:
            return self._handle(request, caller, **arguments)
        except Unseen as error:
            if not run_id:
                raise
            raise MlflowError("PERMISSION_DENIED", refusal_of_script(run_id)) from error


class JsonView(View):
    """An endpoint that returns a JSON object."""

    def direct(self, request: HttpRequest, **arguments: str) -> bytes:
        """See core/handler.py."""
        return orjson.dumps(self._response(request, arguments))


def endpoint(
    *methods: str, message: type[M], role: Role | None = None
) -> Callable[[Callable[..., JsonObject]], View]:
    """Decorate a function ``(caller, message, **path arguments)`` that returns a JSON object.

    The message is decoded from the query of a GET request and from the JSON body of any other.
    ``role``: see View.
    """
    decoder = msgspec.json.Decoder(message, strict=False)

    def decorate(handle: Callable[..., JsonObject]) -> View:
        @wraps(handle)
        def read_and_handle(request: HttpRequest, caller: User, **arguments: str) -> JsonObject:
            return handle(caller, _read(request, message, decoder), **arguments)

        return JsonView(read_and_handle, methods, role)

    return decorate


def protocol_view(*methods: str) -> Callable[[Callable[..., Response]], View]:
    """Like ``endpoint``, for a function ``(request, caller, **path arguments)`` that reads the body
    itself, such as artifact bytes."""
    return lambda handle: View(handle, methods, None)


def _read(request: HttpRequest, message: type[M], decoder: msgspec.json.Decoder[M]) -> M:
    query = _query(request, message) if request.method == "GET" else None
    body = b"" if query is not None else read_bounded(request) or b"{}"
    try:
        if query is not None:
            return msgspec.convert(query, message, strict=False)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise malformed(error, body if query is None else query) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(
            _("The request is malformed: %(reason)s.") % {"reason": error}
        ) from None


def _query(request: HttpRequest, message: type[Message]) -> dict[str, Any]:
    """The query parameters; as lists where ``message`` expects a list."""
    lists = {
        field.name
        for field in msgspec.structs.fields(message)
        if any(get_origin(kind) is list for kind in (field.type, *get_args(field.type)))
    }
    return {
        name: request.GET.getlist(name) if name in lists else text
        for name, text in request.GET.items()
    }


def storable_text(text: str, *, name: str) -> str:
    """Return ``text`` if PostgreSQL can store it. Raises InvalidParameter for NUL characters."""
    if "\x00" in text:
        raise InvalidParameter(_("%(name)s contains a NUL character.") % {"name": name})
    return text


def json_response(content: Mapping[str, Any], status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), status=status, content_type="application/json")


def error_response(error: MlflowError) -> HttpResponse:
    response = json_response(
        {"error_code": error.error_code, "message": error.message}, error.status
    )
    if error.error_code == "UNAUTHENTICATED":
        response["WWW-Authenticate"] = "Bearer"
    if error.retry_seconds is not None:
        response["Retry-After"] = str(error.retry_seconds)
    return response


@protocol_view("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
def endpoint_not_found(request: HttpRequest, caller: User, **arguments: str) -> Response:
    if NOT_KEPT.search(request.path):
        text = _("TrainHub keeps no traces, evaluations or assessments: nothing was stored.")
        raise MlflowError("ENDPOINT_NOT_FOUND", text)
    raise MlflowError("ENDPOINT_NOT_FOUND", _("Endpoint not found."))
