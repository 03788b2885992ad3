"""Logging filters: one adds the fields of ``with log_context(run=run.id): …`` to each record, one
drops the tracebacks of refused requests."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add ``fields`` to this thread's log records inside the block. Blocks nest."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class ContextFilter(logging.Filter):
    """Sets ``context`` on each record: `` run=run_… worker=…``, or an empty string."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.context = "".join(f" {key}={value}" for key, value in _context.get().items())
        return True


class RefusalFilter(logging.Filter):
    """Drops the traceback where Django refuses a request (unknown host, oversized form, forbidden
    page): one line is enough, and any client can trigger as many as it likes."""

    def filter(self, record: logging.LogRecord) -> bool:
        refused = record.name == "django.request" and record.levelno < logging.ERROR
        if refused or record.name.startswith("django.security"):
            record.exc_info = None
        return True
