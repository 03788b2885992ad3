"""Turns exceptions of the API into responses of one shape:

{"type": "client_error", "errors": [{"code": "…", "detail": "…", "attr": null}]}
"""

from __future__ import annotations

from typing import Any

from drf_standardized_errors.handler import ExceptionHandler as StandardizedExceptionHandler
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from core import refusals
from core.database_errors import problem_of
from core.exceptions import DomainError


class ExceptionHandler(StandardizedExceptionHandler):
    """drf-standardized-errors with support for domain errors and those of the database."""

    def __init__(self, exc: Exception, context: Any) -> None:
        super().__init__(exc, context)
        self._problem = problem_of(exc)

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        error = self._problem or exc
        if isinstance(error, DomainError):
            return _as_api_exception(error)
        return super().convert_known_exceptions(exc)

    def report_exception(self, exc: APIException, response: Response) -> None:
        """Without a traceback for a domain error, e.g. a full disk: Django logs a line."""
        if self._problem is not None:
            refusals.count(self._problem, self.exc)
            refusals.mark_as_logged(response)
        elif not isinstance(self.exc, DomainError):
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
