"""What each log record says beside its message: the request, run and worker that it belongs to.

``ContextFilter`` adds the fields of ``with log_context(run=run.id): …`` and the id of the request
that this thread answers; ``RefusalFilter`` drops the tracebacks of refused requests.
"""

import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

# Of callers; others are replaced. Also in trainhub/front/nginx.conf.template.
VALID_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
ID_IN_ENVIRON: Final = "HTTP_X_REQUEST_ID"

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))
_environ: ContextVar[dict[str, Any] | None] = ContextVar("request_environ", default=None)

# Called for every request: no more than this. ``None`` ends it.
note_request = _environ.set


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add ``fields`` to this thread's log records inside the block. Blocks nest."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def request_id() -> str | None:
    """That of the request which this thread answers, or has answered last; None outside of them.

    nginx has checked or made it. Behind another server it is checked, or made, here, on first use.
    """
    environ = _environ.get()
    if environ is None:
        return None
    given = str(environ.get(ID_IN_ENVIRON, ""))
    if VALID_ID.fullmatch(given):
        return given
    environ[ID_IN_ENVIRON] = made = uuid.uuid4().hex
    return made


class ContextFilter(logging.Filter):
    """Sets ``fields`` on each record, and ``context``: `` run=run_… worker=…``, or an empty
    string."""

    def filter(self, record: logging.LogRecord) -> bool:
        fields = dict(_context.get())
        if (request := request_id()) is not None:
            fields["request"] = request
        record.fields = fields
        record.context = "".join(f" {key}={value}" for key, value in fields.items())
        return True


class RefusalFilter(logging.Filter):
    """Drops the traceback where Django refuses a request (unknown host, oversized form, forbidden
    page): one line is enough, and any client can trigger as many as it likes."""

    def filter(self, record: logging.LogRecord) -> bool:
        refused = record.name == "django.request" and record.levelno < logging.ERROR
        if refused or record.name.startswith("django.security"):
            record.exc_info = None
        return True
