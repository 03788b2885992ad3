"""What is done to every log record: fields of the block that wrote it are added
(``with log_context(run=run.id): …``), tracebacks that tell of no fault of ours are left out."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add ``fields`` to the records of this thread until the block ends; blocks nest."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class ContextFilter(logging.Filter):
    """Gives each record ``context``: `` run=run_… worker=…``, or nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.context = "".join(f" {key}={value}" for key, value in _context.get().items())
        return True


class RefusalFilter(logging.Filter):
    """Leaves the traceback out where Django refused a request (a host that is not ours, a form
    that is too large, a page that one may not see): a line says it all, and anybody can ask for
    as many as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        refused = record.name == "django.request" and record.levelno < logging.ERROR
        if refused or record.name.startswith("django.security"):
            record.exc_info = None
        return True
