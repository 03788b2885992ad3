"""MLflow's REST protocol on the wire: a message in, a JSON object out, errors in its own shape.

Numbers of 64 bits may come as strings, NaN and the infinities travel as the strings "NaN",
"Infinity", "-Infinity", unknown fields are passed over (protobuf's JSON mapping:
https://protobuf.dev/programming-guides/json/).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper, wraps
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_origin

import msgspec
import orjson
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from accounts.authentication import caller_of
from tracking.errors import InvalidParameter, MlflowError, as_mlflow_error
from trainhub.json import read_bounded

logger = logging.getLogger(__name__)

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Message(msgspec.Struct):
    """What a request says; a subclass for each endpoint, its fields as the protocol names them."""


class Nothing(Message):
    """A request without fields."""


M = TypeVar("M", bound=Message)
Answer: TypeAlias = Mapping[str, Any] | HttpResponseBase


class View:
    """An address of the protocol: ``handle(request, caller, **path arguments)``, which may raise
    errors of TrainHub's own. They become MLflow's; what else is raised is a bug and becomes a 500
    through Django."""

    csrf_exempt = True  # callers show tokens, see caller_of
    login_required = False  # they are asked for here

    def __init__(self, handle: Callable[..., Answer], methods: Sequence[str]) -> None:
        update_wrapper(self, handle)
        self._handle = handle
        self._methods = methods

    def __call__(self, request: HttpRequest, **arguments: str) -> HttpResponseBase:
        try:
            return self._answer(request, arguments)
        except Exception as error:
            known = as_mlflow_error(error)
            if known is None:
                raise
            return error_response(known)

    def quick(self, request: HttpRequest, **arguments: str) -> HttpResponse | None:
        """As trainhub/quick.py wants it; for requests that bear being answered twice."""
        try:
            answer = self._answer(request, arguments)
        except Exception as error:
            if as_mlflow_error(error) is None:
                raise
            return None
        return answer if isinstance(answer, HttpResponse) else None

    def _answer(self, request: HttpRequest, arguments: dict[str, str]) -> HttpResponseBase:
        caller = caller_of(request)  # first: a stranger learns nothing, not even this
        if request.method not in self._methods:
            raise MlflowError("ENDPOINT_NOT_FOUND", _("There is nothing at this address."))
        answer = self._handle(request, caller, **arguments)
        return answer if isinstance(answer, HttpResponseBase) else json_response(answer)


def endpoint(*methods: str, message: type[M]) -> Callable[[Callable[..., Answer]], View]:
    """Make a view of a function ``(caller, message, **path arguments)`` that answers a JSON object.

    A GET's message is its query, any other's its JSON body.
    """
    decoder = msgspec.json.Decoder(message, strict=False)

    def decorate(handle: Callable[..., Answer]) -> View:
        @wraps(handle)
        def read_and_handle(request: HttpRequest, caller: User, **arguments: str) -> Answer:
            return handle(caller, _read(request, message, decoder), **arguments)

        return View(read_and_handle, methods)

    return decorate


def protocol_view(*methods: str) -> Callable[[Callable[..., Answer]], View]:
    """As ``endpoint``, for a function ``(request, caller, **path arguments)`` that reads the body
    itself: bytes of artifacts."""
    return lambda handle: View(handle, methods)


def _read(request: HttpRequest, message: type[M], decoder: msgspec.json.Decoder[M]) -> M:
    try:
        if request.method == "GET":
            return msgspec.convert(_query(request, message), message, strict=False)
        return decoder.decode(read_bounded(request) or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(
            _("The request is malformed: %(reason)s.") % {"reason": error}
        ) from None


def _query(request: HttpRequest, message: type[Message]) -> dict[str, Any]:
    """The query's parameters; a repeated one is a list where the message wants one."""
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
    """``text``, which PostgreSQL can keep. Raises InvalidParameter for NUL characters."""
    if "\x00" in text:
        raise InvalidParameter(_("%(name)s holds a NUL character.") % {"name": name})
    return text


def json_response(content: Mapping[str, Any], status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), status=status, content_type="application/json")


def error_response(error: MlflowError) -> HttpResponse:
    response = json_response(
        {"error_code": error.error_code, "message": error.message}, error.status
    )
    if error.error_code == "UNAUTHENTICATED":
        response["WWW-Authenticate"] = "Bearer"
    return response


@protocol_view("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
def endpoint_not_found(request: HttpRequest, caller: User, **arguments: str) -> Answer:
    raise MlflowError("ENDPOINT_NOT_FOUND", _("There is nothing at this address."))
