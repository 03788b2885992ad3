"""MLflow errors: an error code, a message, and the HTTP status that clients expect for it.

https://github.com/mlflow/mlflow/blob/master/mlflow/exceptions.py
"""

from typing import Final

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException
from rest_framework.status import HTTP_401_UNAUTHORIZED, HTTP_403_FORBIDDEN

from core.database_errors import PROBLEMS, DatabaseFull
from core.exceptions import DomainError
from runs.models import Run

STATUS: Final[dict[str, int]] = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "INVALID_STATE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "RESOURCE_CONFLICT": 409,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "RESOURCE_LIMIT_EXCEEDED": 507,
}

# TrainHub error code -> MLflow error code, for errors that MLflow clients handle specially.
DOMAIN_CODES: Final[dict[str, str]] = {
    "already_exists": "RESOURCE_ALREADY_EXISTS",
    "run_in_trash": "INVALID_PARAMETER_VALUE",
    "storage_full": "RESOURCE_LIMIT_EXCEEDED",
    "storage_quota": "RESOURCE_LIMIT_EXCEEDED",
    "storage_unavailable": "TEMPORARILY_UNAVAILABLE",
    **{
        kind.code: "RESOURCE_LIMIT_EXCEEDED" if kind is DatabaseFull else "TEMPORARILY_UNAVAILABLE"
        for kind in PROBLEMS.values()
    },
}

# For the other TrainHub errors.
CODE_OF_STATUS: Final = {
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
}


class MlflowError(Exception):
    """An error response with ``code`` (a key of STATUS) and a human-readable message."""

    def __init__(self, code: str, message: str, *, retry_seconds: int | None = None) -> None:
        """``retry_seconds``: when the caller may try again, if that may help."""
        super().__init__(message)
        self.error_code = code
        self.message = message
        self.retry_seconds = retry_seconds

    @property
    def status(self) -> int:
        return STATUS[self.error_code]


class InvalidParameter(MlflowError):
    def __init__(self, message: str, *, position: int | None = None) -> None:
        """``position``: where in the filter the error is, 0-based, for pages that point there."""
        super().__init__("INVALID_PARAMETER_VALUE", message)
        self.position = position


class DoesNotExist(MlflowError):
    def __init__(self, message: str) -> None:
        super().__init__("RESOURCE_DOES_NOT_EXIST", message)


class Unseen(DoesNotExist):
    """There is no such row, or the caller may not see it. A script is told the latter."""


class AlreadyExists(MlflowError):
    def __init__(self, message: str) -> None:
        super().__init__("RESOURCE_ALREADY_EXISTS", message)


def as_mlflow_error(error: Exception) -> MlflowError | None:
    """Convert an expected TrainHub error to an MLflow error; None for an unexpected one."""
    if isinstance(error, MlflowError):
        return error
    if isinstance(error, DomainError) and error.code in DOMAIN_CODES:
        code, seconds = DOMAIN_CODES[error.code], error.retry_seconds
        return MlflowError(code, str(error.message), retry_seconds=seconds)
    if isinstance(error, DomainError):
        code = CODE_OF_STATUS.get(error.status_code, "INVALID_PARAMETER_VALUE")
        return MlflowError(code, str(error.message), retry_seconds=error.retry_seconds)
    if isinstance(error, Run.DoesNotExist):
        return DoesNotExist(_("Run not found."))
    if isinstance(error, Http404):
        return DoesNotExist(str(error) or "Resource not found.")
    if isinstance(error, PermissionDenied):
        return MlflowError("PERMISSION_DENIED", str(error))
    if isinstance(error, APIException):
        codes = {HTTP_401_UNAUTHORIZED: "UNAUTHENTICATED", HTTP_403_FORBIDDEN: "PERMISSION_DENIED"}
        return MlflowError(codes.get(error.status_code, "BAD_REQUEST"), str(error.detail))
    if isinstance(error, ObjectDoesNotExist):  # deleted after it was looked up
        return DoesNotExist("Resource not found.")
    return None
