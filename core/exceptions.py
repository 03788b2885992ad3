"""Domain errors, and the exception handler that turns them into responses.

A domain error is a plain exception with a ``code`` and a human-readable message; all it knows of
HTTP is its status code. The API uses one shape for every error:

    {"type": "client_error", "errors": [{"code": "…", "detail": "…", "attr": null}]}
"""

from typing import ClassVar

from django.utils.functional import Promise
from drf_standardized_errors.handler import ExceptionHandler as StandardizedExceptionHandler
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from core.messages import Text


class DomainError(Exception):
    """A request that violates a rule of TrainHub; the message is shown to the caller."""

    code: ClassVar[str] = "conflict"
    status_code: ClassVar[int] = 409
    retry_seconds: ClassVar[int | None] = None  # when the caller may try again, if that may help

    def __init__(self, message: Text | Promise, *, attr: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.attr = attr  # the request field or parameter at fault, if any


class InvalidInput(DomainError):
    """The request has an invalid value."""

    code = "invalid"
    status_code = 400


class ExceptionHandler(StandardizedExceptionHandler):
    """drf-standardized-errors with support for domain errors."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, DomainError):
            return _as_api_exception(exc)
        return super().convert_known_exceptions(exc)

    def report_exception(self, exc: APIException, response: Response) -> None:
        """Without a traceback for a domain error, e.g. a full disk: Django logs a line."""
        if not isinstance(self.exc, DomainError):
            super().report_exception(exc, response)


def _as_api_exception(error: DomainError) -> APIException:
    if error.attr:
        detail = {error.attr: [str(error.message)]}
        return ValidationError(detail, code=error.code)
    exception = APIException(str(error.message), code=error.code)
    exception.status_code = error.status_code
    if error.retry_seconds is not None:
        exception.wait = error.retry_seconds  # type: ignore[attr-defined]
    return exception
