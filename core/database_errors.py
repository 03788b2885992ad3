"""Why the database does not serve a request, as errors that tell the caller so.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import InterfaceError, OperationalError
from django.db.utils import Error

from core.exceptions import DomainError
from core.messages import Message


class DatabaseProblem(DomainError):
    """Nothing was stored; later the same request may succeed."""

    status_code = 503
    text: Message

    def __init__(self) -> None:
        super().__init__(self.text)


class DatabaseBusy(DatabaseProblem):
    """A lock, held by another transaction: a problem of some rows, not of the database."""

    code = "database_busy"
    retry_seconds = 1
    text = Message("Something else is changing what this needs: try again in a moment.")


class DatabaseSlow(DatabaseProblem):
    code = "database_slow"
    retry_seconds = 10
    text = Message("The database took too long to answer: try again later.")


class DatabaseUnavailable(DatabaseProblem):
    code = "database_unavailable"
    retry_seconds = 5
    text = Message("The database cannot be reached at the moment: try again soon.")


class DatabaseReadOnly(DatabaseProblem):
    code = "database_read_only"
    retry_seconds = 30
    text = Message("The database is read-only at the moment: nothing was stored.")


class DatabaseFull(DatabaseProblem):
    code = "database_full"
    status_code = 507
    retry_seconds = 30
    text = Message("The database has no room left: nothing was stored.")


# By SQLSTATE, or its beginning.
PROBLEMS: Final[dict[str, type[DatabaseProblem]]] = {
    "55P03": DatabaseBusy,  # lock_timeout
    "40P01": DatabaseBusy,  # deadlock
    "40001": DatabaseBusy,  # serialization failure
    "57014": DatabaseSlow,  # statement_timeout
    "25P03": DatabaseSlow,  # idle_in_transaction_session_timeout: we were
    "53100": DatabaseFull,
    "25006": DatabaseReadOnly,
    "08": DatabaseUnavailable,  # the connection
    "53": DatabaseUnavailable,  # connections or memory used up
    "57P": DatabaseUnavailable,  # shutting down, starting up
    "58": DatabaseUnavailable,  # its disk
}
# Problems of what a request touches. All others are the database's, and everybody has them.
LOCAL: Final = (DatabaseBusy, DatabaseSlow)


def problem_of(error: BaseException | None) -> DatabaseProblem | None:
    """Why the database did not serve what raised ``error``; None if it did, as for a duplicate
    key."""
    if isinstance(error, DatabaseProblem):
        return error
    if not isinstance(error, Error | psycopg.Error):
        return None
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    state = (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""
    for length in (5, 3, 2):
        if state[:length] in PROBLEMS:
            return PROBLEMS[state[:length]]()
    # Of the client's library: no server has answered.
    unanswered = (OperationalError, InterfaceError, psycopg.OperationalError)
    return DatabaseUnavailable() if not state and isinstance(error, unanswered) else None


def outage_of(error: BaseException | None) -> DatabaseProblem | None:
    """Like ``problem_of``, but None for a problem that others do not have."""
    problem = problem_of(error)
    return None if isinstance(problem, LOCAL) else problem
