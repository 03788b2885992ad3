"""Several prepared statements in one round trip to the database: libpq's pipeline mode.

PostgreSQL executes them one after the other, each as if it had come alone; none of them can use
what another has answered. (https://www.postgresql.org/docs/current/libpq-pipeline-mode.html)
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from core.database import Session, Statement, begin, bound, check, must_begin, on_connection

Rows = list[tuple[Any, ...]]


class Query(NamedTuple):
    statement: Statement
    parameters: dict[str, Any]


def query(statement: Statement, **parameters: Any) -> Query:
    return Query(statement, parameters)


def together(*queries: Query) -> list[Rows]:
    """The rows of each query. In the current transaction if there is one; otherwise all are one.

    Errors, and what happens when the connection was lost, are as for ``Statement.rows``.
    """
    values = [statement.values(parameters) for statement, parameters in queries]
    statements = [statement for statement, _parameters in queries]
    return on_connection(statements, lambda session: _execute(session, statements, values))


def _execute(
    session: Session, statements: Sequence[Statement], values: Sequence[list[Any]]
) -> list[Rows]:
    connection, transformer = session.connection, session.transformer
    libpq = connection.pgconn
    # Before, because preparing waits for an answer, and a value may be wrong.
    names = [statement.prepare(libpq, session.prepared) for statement in statements]
    sent = [(bound(transformer, row), transformer.formats) for row in values]
    begins = must_begin(connection)
    libpq.enter_pipeline_mode()
    if begins:
        libpq.send_query_params(begin(connection), None)
    for name, (parameters, formats) in zip(names, sent, strict=True):
        libpq.send_query_prepared(
            name,
            parameters,
            formats,
            Format.BINARY,
        )
    libpq.pipeline_sync()
    try:
        results = _results(libpq)
    except BaseException:  # a signal handler's, too: what comes next would read these answers
        connection.close()
        raise
    libpq.exit_pipeline_mode()
    for result in results:
        check(libpq, result)
    return [_rows(transformer, result) for result in results[begins:]]


def _results(libpq: PGconn) -> list[PGresult]:
    """Of all that was sent. After one that failed come no more but PIPELINE_ABORTED."""
    found: list[PGresult] = []
    while True:
        _wait(libpq)
        result = libpq.get_result()
        if libpq.status == ConnStatus.BAD:
            raise psycopg.OperationalError(libpq.get_error_message())
        if result is None:  # between two statements
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            return found
        found.append(result)


def _wait(libpq: PGconn) -> None:
    """Until there is a result: ``get_result`` would wait for it with the interpreter's lock."""
    while libpq.is_busy():
        is_unsent = libpq.flush()
        poll = select.poll()
        poll.register(libpq.socket, select.POLLIN | (select.POLLOUT if is_unsent else 0))
        poll.poll()
        libpq.consume_input()


def _rows(transformer: Transformer, result: PGresult) -> Rows:
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)
