"""Domain errors: plain exceptions with a ``code`` and a human-readable message.

All they know of HTTP is the status code. The handler in core/exception_handler.py turns them into
responses.
"""

from typing import ClassVar

from django.utils.functional import Promise

from core.messages import Text


class DomainError(Exception):
    """A request that violates a rule of TrainHub; the message is shown to the caller."""

    code: ClassVar[str] = "conflict"
    status_code: ClassVar[int] = 409
    retry_seconds: int | None = None  # when the caller may try again, if that may help

    def __init__(self, message: Text | Promise, *, attr: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.attr = attr  # the request field or parameter at fault, if any


class InvalidInput(DomainError):
    """The request has an invalid value."""

    code = "invalid"
    status_code = 400
