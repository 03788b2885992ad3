"""Prepared statements for hot paths: one per connection, with number arrays sent in binary.

Django's cursors bind parameters on the client and prepare nothing, and planning a long statement
costs more than running it. (https://www.psycopg.org/psycopg3/docs/api/pq.html)
"""

from __future__ import annotations

import math
import re
import struct
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from time import monotonic
from typing import Any, ClassVar, TypeVar

import numpy as np
import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.abc import Transformer as TransformerType
from psycopg.adapt import AdaptersMap, Buffer, Dumper, PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

# Type OIDs, fixed in pg_type.dat.
INT8, FLOAT8, TEXT = 20, 701, 25
INT8_ARRAY, FLOAT8_ARRAY, TEXT_ARRAY = 1016, 1022, 1009
# Element types of arrays of numbers: NumPy's own, and as they are sent.
ELEMENTS = {INT8_ARRAY: ("i8", ">i8"), FLOAT8_ARRAY: ("f8", ">f8")}
ARRAY_HEADER = struct.Struct(">5i")

Answer = TypeVar("Answer")

# How long a plan is reused. The best plan for an empty table is not the best once a cluster has
# filled it, and PostgreSQL may take a minute to notice.
PLAN_SECONDS = 10

# Errors of a prepared statement after a migration has changed its tables, or after a connection
# pooler has deallocated the session's prepared statements.
STALE = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)
SUCCEEDED = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Bigints(list[int]):
    """A bigint[] parameter; every number must fit in 64 bits."""


class Doubles(list[float]):
    """A double precision[] parameter."""


class Texts(list[str]):
    """A text[] parameter; no text may contain NUL."""


# Others are text.
_FORMATS: dict[type, PyFormat] = {
    Bigints: PyFormat.BINARY,
    Doubles: PyFormat.BINARY,
    Texts: PyFormat.BINARY,
}


class _ArrayDumper(Dumper):
    """The binary form of a one-dimensional array without NULLs (array_send in PostgreSQL's
    arrayfuncs.c): a header, then each element prefixed by its length, all big-endian."""

    format = Format.BINARY
    element_oid: ClassVar[int]
    element: ClassVar[np.dtype[Any]]  # prefixed by its length

    def dump(self, obj: list[Any]) -> Buffer:
        elements = np.empty(len(obj), dtype=self.element)
        elements["length"] = 8
        elements["value"] = obj
        return _array_header(self.element_oid, len(obj)) + elements.tobytes()


class _TextsDumper(Dumper):
    """The same for texts; psycopg's own dumper takes three times as long for a thousand."""

    format = Format.BINARY
    oid = TEXT_ARRAY

    def dump(self, obj: list[str]) -> Buffer:
        parts = [_array_header(TEXT, len(obj))]
        for text in obj:
            encoded = text.encode()
            parts.append(len(encoded).to_bytes(4, "big"))
            parts.append(encoded)
        return b"".join(parts)


def _array_header(element_oid: int, count: int) -> bytes:
    return ARRAY_HEADER.pack(1, 0, element_oid, count, 1)


class _BigintsDumper(_ArrayDumper):
    oid, element_oid = INT8_ARRAY, INT8
    element = np.dtype([("length", ">i4"), ("value", ">i8")])


class _DoublesDumper(_ArrayDumper):
    oid, element_oid = FLOAT8_ARRAY, FLOAT8
    element = np.dtype([("length", ">i4"), ("value", ">f8")])


class _Context:
    """How values are converted: psycopg's own adapters, which are written in C (those of Django's
    connections are Python), plus the array dumpers above."""

    adapters = AdaptersMap(psycopg.adapters)
    connection = None  # times are UTC, as on Django's connections


_Context.adapters.register_dumper(Bigints, _BigintsDumper)
_Context.adapters.register_dumper(Doubles, _DoublesDumper)
_Context.adapters.register_dumper(Texts, _TextsDumper)


class Session:
    """What a thread keeps for its connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        # Reused, as psycopg's cursors do, because it caches adapters.
        self.transformer: TransformerType = Transformer(_Context)
        # The name of each prepared statement and when it was prepared.
        self.prepared: dict[Statement, tuple[bytes, float]] = {}


_of_thread = threading.local()


def _session(connection: psycopg.Connection[Any]) -> Session:
    session: Session | None = getattr(_of_thread, "session", None)
    if session is None or session.connection is not connection:
        session = _of_thread.session = Session(connection)
    return session


class Statement:
    """SQL with psycopg-style ``%(name)s`` parameters, prepared on first use.

    PostgreSQL infers the parameter types: add casts where it cannot. Rows are fetched in binary.
    This uses psycopg's libpq wrapper directly, because for most of our statements psycopg's cursors
    spend more time on binding, waiting and loading than PostgreSQL does on execution. Signal
    handlers run only after the server has answered.
    """

    _numbers = count()

    def __init__(self, text: str) -> None:
        numbers: dict[str, int] = {}

        def placeholder(match: re.Match[str]) -> str:
            return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

        self.text = text
        self.sql = re.sub(r"%\((\w+)\)s", placeholder, text).encode()
        self._parameters = list(numbers)
        self._columns: list[str] = []

    def rows(self, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run the statement on Django's connection, in the current transaction if there is one.

        Outside a transaction, it is retried once if the connection was lost or the prepared
        statement is stale, so the statement must be idempotent. Raises Django's database errors
        (django.db.utils).
        """
        result, transformer = self._run(parameters)
        return transformer.load_rows(0, result.ntuples, tuple)

    def array_rows(self, **parameters: Any) -> list[list[Any]]:
        """The rows, with their bigint[] and double precision[] as NumPy arrays, which takes a tenth
        of the time. No element may be NULL; an array that is NULL is an empty one."""
        result, _transformer = self._run(parameters)
        kinds = [result.ftype(column) for column in range(result.nfields)]
        return [
            [
                _array(kind, result.get_value(row, column))
                if kind in ELEMENTS
                else int.from_bytes(result.get_value(row, column) or b"", signed=True)
                for column, kind in enumerate(kinds)
            ]
            for row in range(result.ntuples)
        ]

    def row(self, **parameters: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        rows = self.rows(**parameters)
        return rows[0] if rows else None

    def records(self, **parameters: Any) -> list[dict[str, Any]]:
        """The rows as dictionaries keyed by column name."""
        result, transformer = self._run(parameters)
        if not self._columns:
            names = [result.fname(column) or b"" for column in range(result.nfields)]
            self._columns = [name.decode() for name in names]
        columns = self._columns
        return transformer.load_rows(
            0, result.ntuples, lambda values: dict(zip(columns, values, strict=True))
        )

    def record(self, **parameters: Any) -> dict[str, Any] | None:
        """The first row as a dictionary keyed by column name, or None."""
        records = self.records(**parameters)
        return records[0] if records else None

    def run(self, **parameters: Any) -> None:
        """Run the statement and discard its rows."""
        self._run(parameters)

    def _run(self, parameters: dict[str, Any]) -> tuple[PGresult, TransformerType]:
        values = self.values(parameters)
        return on_connection([self], lambda session: self._execute(session, values))

    def values(self, parameters: dict[str, Any]) -> list[Any]:
        """In the order of the statement's placeholders."""
        return [parameters[name] for name in self._parameters]

    def _execute(self, session: Session, values: list[Any]) -> tuple[PGresult, TransformerType]:
        connection, transformer = session.connection, session.transformer
        libpq = connection.pgconn
        if must_begin(connection):
            check(libpq, libpq.exec_(begin(connection)))
        result = libpq.exec_prepared(
            self.prepare(libpq, session.prepared),
            bound(transformer, values),  # type: ignore[arg-type]  # None is NULL
            transformer.formats,
            Format.BINARY,
        )
        check(libpq, result)
        transformer.set_pgresult(result)
        return result, transformer

    def prepare(self, libpq: PGconn, prepared: dict[Statement, tuple[bytes, float]]) -> bytes:
        """Prepare the statement if needed and return its name."""
        now = monotonic()
        name, at = prepared.get(self, (b"", -math.inf))
        if now < at + PLAN_SECONDS:
            return name
        if name:
            check(libpq, libpq.exec_(b"DEALLOCATE " + name))
        name = b"trainhub_%d" % next(self._numbers)
        check(libpq, libpq.prepare(name, self.sql))
        prepared[self] = name, now
        return name


def on_connection(statements: Sequence[Statement], execute: Callable[[Session], Answer]) -> Answer:
    """Call ``execute`` with Django's connection, for ``statements``; see ``Statement.rows``."""
    database = connections[DEFAULT_DB_ALIAS]  # once: ``django.db.connection`` is a proxy
    if database.connection is None:
        database.ensure_connection()
    if database.force_debug_cursor:  # tests count queries
        for statement in statements:
            database.queries_log.append({"sql": statement.sql.decode(), "time": ""})
    with database.wrap_database_errors:
        try:
            return execute(_session(database.connection))
        except STALE:
            _session(database.connection).prepared.clear()
            if database.in_atomic_block:
                raise
        except psycopg.OperationalError:
            if database.in_atomic_block or database.is_usable():
                raise
            database.close()
            database.connect()
        return execute(_session(database.connection))


def must_begin(connection: psycopg.Connection[Any]) -> bool:
    """Whether what comes next is the first statement of a transaction."""
    return (
        not connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE
    )


def begin(connection: psycopg.Connection[Any]) -> bytes:
    """The statement that begins a transaction, as psycopg's cursors send it."""
    level = connection.isolation_level
    if level is None:
        return b"BEGIN"
    return f"BEGIN ISOLATION LEVEL {level.name}".replace("_", " ").encode()


def bound(transformer: TransformerType, values: list[Any]) -> Sequence[Buffer | None]:
    """The values as they are sent; their formats are the transformer's then."""
    return transformer.dump_sequence(
        values, [_FORMATS.get(type(value), PyFormat.TEXT) for value in values]
    )


def _array(oid: int, content: bytes | None) -> np.ndarray[Any, Any]:
    """Decode a one-dimensional array without NULLs: see _ArrayDumper."""
    native, sent = ELEMENTS[oid]
    body = (content or b"")[20:]  # an empty array has no dimension, and a header of 12 bytes
    elements = np.frombuffer(body, dtype=[("length", ">i4"), ("value", sent)])
    return elements["value"].astype(native)


CURRENT_TIME = Statement("SELECT statement_timestamp()")


def current_time() -> datetime:
    """By the database's clock, which the workers and web servers of all hosts share."""
    [row] = CURRENT_TIME.rows()
    now: datetime = row[0]
    return now


def check(libpq: PGconn, result: PGresult) -> None:
    """Raise the error in ``result``, if any, as psycopg does."""
    if result.status in SUCCEEDED:
        return
    if libpq.status == ConnStatus.BAD:
        raise psycopg.OperationalError(libpq.get_error_message())
    raise psycopg.errors.error_from_result(result)
