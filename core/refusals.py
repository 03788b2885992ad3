"""Requests that the database does not let be served: counted in the log, without tracebacks."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.http.response import HttpResponseBase

from core.database_errors import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseProblem,
    DatabaseReadOnly,
    DatabaseSlow,
    DatabaseUnavailable,
)
from core.outages import Outage

logger = logging.getLogger(__name__)

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def _outage(kind: type[DatabaseProblem]) -> Outage:
    return Outage(logger, f"requests are refused: {kind.code}", f"no more {kind.code}: served")


_away = _outage(DatabaseUnavailable)
_full, _read_only = _outage(DatabaseFull), _outage(DatabaseReadOnly)
_outages: Final[dict[type[DatabaseProblem], Outage]] = {
    DatabaseUnavailable: _away,
    DatabaseFull: _full,
    DatabaseReadOnly: _read_only,
    DatabaseBusy: _outage(DatabaseBusy),
    DatabaseSlow: _outage(DatabaseSlow),
}


def count(problem: DatabaseProblem, error: BaseException) -> None:
    """A request is refused for ``problem``, which ``error`` has told."""
    _outages[type(problem)].failed(problem.code if error is problem else error)


def mark_as_logged(response: HttpResponseBase) -> None:
    """Django logs a line for every answer from 500 on, unless its own mark says that it has."""
    response._has_been_logged = True  # type: ignore[attr-defined]


def note_connection(**_signal: Any) -> None:
    """Receiver of Django's connection_created signal."""
    _away.over()


def note_answer(method: str | None, status_code: int) -> None:
    """The database can be written again when it has been."""
    has_written = method not in READING and status_code < 400
    if has_written and (_full.is_on or _read_only.is_on):
        _full.over()
        _read_only.over()
