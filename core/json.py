"""Fast, strict, size-limited JSON parsers and the JSON renderer of the API (orjson)."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "body_too_large"


class JSONParser(BaseParser):
    """Parses RFC 8259 JSON: no NaN or Infinity, no lone surrogates, limited nesting.

    Raises ParseError (400) for invalid JSON or null, BodyTooLarge (413) over MAX_JSON_BYTES.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = read_bounded(stream)
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(_("Not valid JSON: %(why)s") % {"why": error}) from error
        if content is None:  # DRF's own message is not translated
            raise ParseError(_("The body must be a JSON object, not null."))
        return content


class BytesParser(BaseParser):
    """Returns a JSON body as raw bytes, for views that decode typed messages.

    Raises BodyTooLarge (413) over MAX_JSON_BYTES.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return read_bounded(stream)


def read_bounded(stream: Any) -> bytes:
    """Read the whole body. Raises BodyTooLarge over MAX_JSON_BYTES."""
    limit: int = settings.MAX_JSON_BYTES
    # Read at most one byte past the limit, so an oversized body is never held in memory.
    body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(_("The body is larger than %(limit)d bytes.") % {"limit": limit})
    return body


def _encode_other(value: Any) -> str:
    if isinstance(value, Promise):  # a lazily translated text
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8 by definition (RFC 8259 §8.1)

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=_encode_other, option=orjson.OPT_NON_STR_KEYS)
