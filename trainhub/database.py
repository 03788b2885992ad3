"""Statements that must be quick: prepared on each connection, arrays of numbers sent in binary.

Django's own cursors bind parameters in the client and prepare nothing; planning a long statement
anew costs more than running it. (https://www.psycopg.org/psycopg3/docs/api/pq.html)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import count
from time import monotonic
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.abc import Transformer as TransformerType
from psycopg.adapt import AdaptersMap, Buffer, Dumper, PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

INT8, FLOAT8, INT8_ARRAY, FLOAT8_ARRAY = 20, 701, 1016, 1022  # types' oids, fixed in pg_type.dat


# How long a statement's plan is good. What is best for an empty table is not for what a cluster has
# made of it a minute later, when PostgreSQL notices by itself.
PLAN_SECONDS = 10

# What a prepared statement ends in once the tables have been migrated, or the session's prepared
# statements thrown away, as poolers do.
STALE = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)


class Bigints(list[int]):
    """A parameter of the type bigint[]; every number must fit 64 bits."""


class Doubles(list[float]):
    """A parameter of the type double precision[]."""


class _ArrayDumper(Dumper):
    """The binary form of a one-dimensional array without NULLs (array_send in PostgreSQL's
    arrayfuncs.c): a header, then each element behind its length, all big-endian."""

    format = Format.BINARY
    element_oid: ClassVar[int]
    element: ClassVar[str]

    def dump(self, obj: list[Any]) -> Buffer:
        elements = np.empty(len(obj), dtype=[("length", ">i4"), ("value", self.element)])
        elements["length"] = 8
        elements["value"] = obj
        header = np.array([1, 0, self.element_oid, len(obj), 1], dtype=">i4")
        return header.tobytes() + elements.tobytes()


class _BigintsDumper(_ArrayDumper):
    oid, element_oid, element = INT8_ARRAY, INT8, ">i8"


class _DoublesDumper(_ArrayDumper):
    oid, element_oid, element = FLOAT8_ARRAY, FLOAT8, ">f8"


class _Context:
    """What values become on their way in and out: psycopg's own way, which is C, and not that of
    Django's connections, which is Python; and our arrays."""

    adapters = AdaptersMap(psycopg.adapters)
    connection = None  # times are UTC, as Django's connections have them


_Context.adapters.register_dumper(Bigints, _BigintsDumper)
_Context.adapters.register_dumper(Doubles, _DoublesDumper)


def prepare_connection(*, connection: Any, **_signal: Any) -> None:
    """A receiver of Django's connection_created (see TrainHubConfig)."""
    # Prepared statements, which are ours alone, are planned once. By itself PostgreSQL plans our
    # longest at every call, which takes longer than running it for a single point.
    connection.connection.execute("SET plan_cache_mode = force_generic_plan")


class Statement:
    """SQL with ``%(name)s`` for its parameters, as psycopg has them, prepared on first use.

    The types of the parameters are what PostgreSQL infers: cast them where it could not know. Rows
    come in binary. It goes by psycopg's wrapper of libpq: psycopg's own cursors take longer over
    binding, waiting and loading than PostgreSQL takes over most of our statements. Signals wait
    until it has answered.
    """

    _numbers = count()
    # What each connection has prepared, under which name, and when.
    _prepared: ClassVar[
        WeakKeyDictionary[psycopg.Connection[Any], dict[Statement, tuple[bytes, float]]]
    ] = WeakKeyDictionary()

    def __init__(self, text: str) -> None:
        numbers: dict[str, int] = {}

        def placeholder(match: re.Match[str]) -> str:
            return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

        self._sql = re.sub(r"%\((\w+)\)s", placeholder, text).encode()
        self._parameters = list(numbers)
        self._columns: list[str] = []

    def rows(self, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run it on Django's connection, in its transaction if there is one.

        Outside of one it is run again if the connection turns out to have died, or to have prepared
        it for tables that have changed since: it must be a statement that may be repeated. Raises
        psycopg's errors as Django's (django.db.utils).
        """
        result, transformer = self._run(parameters)
        return transformer.load_rows(0, result.ntuples, tuple)

    def row(self, **parameters: Any) -> tuple[Any, ...] | None:
        """The first row, if there is any."""
        rows = self.rows(**parameters)
        return rows[0] if rows else None

    def records(self, **parameters: Any) -> list[dict[str, Any]]:
        """The rows by their columns' names."""
        result, transformer = self._run(parameters)
        if not self._columns:
            names = [result.fname(column) or b"" for column in range(result.nfields)]
            self._columns = [name.decode() for name in names]
        columns = self._columns
        return transformer.load_rows(
            0, result.ntuples, lambda values: dict(zip(columns, values, strict=True))
        )

    def run(self, **parameters: Any) -> None:
        """For what it does, not for its rows."""
        self._run(parameters)

    def _run(self, parameters: dict[str, Any]) -> tuple[PGresult, TransformerType]:
        database = connections[DEFAULT_DB_ALIAS]  # once: the ``connection`` of Django looks it up
        database.ensure_connection()
        if database.queries_logged:  # tests count queries
            database.queries_log.append({"sql": self._sql.decode(), "time": ""})
        transformer: TransformerType = Transformer(_Context)
        values = [parameters[name] for name in self._parameters]
        with database.wrap_database_errors:
            bound = transformer.dump_sequence(values, [_format(value) for value in values])
            result = self._result(database, bound, transformer.formats)
        transformer.set_pgresult(result)
        return result, transformer

    def _result(
        self, database: Any, bound: Sequence[Buffer | None], formats: Sequence[Format] | None
    ) -> PGresult:
        try:
            return self._execute(database.connection, bound, formats)
        except STALE:
            self._prepared.pop(database.connection, None)
            if database.in_atomic_block:
                raise
        except psycopg.OperationalError:
            if database.in_atomic_block or database.is_usable():
                raise
            database.close()
            database.connect()
        return self._execute(database.connection, bound, formats)

    def _execute(
        self,
        connection: psycopg.Connection[Any],
        bound: Sequence[Buffer | None],
        formats: Sequence[Format] | None,
    ) -> PGresult:
        libpq = connection.pgconn
        if not connection.autocommit and libpq.transaction_status == TransactionStatus.IDLE:
            connection.execute("SELECT")  # psycopg begins its transaction with a cursor's first
        result = libpq.exec_prepared(
            self._prepare(libpq, self._prepared.setdefault(connection, {})),
            bound,  # type: ignore[arg-type]  # None is NULL
            formats,
            Format.BINARY,
        )
        _check(libpq, result)
        return result

    def _prepare(self, libpq: PGconn, prepared: dict[Statement, tuple[bytes, float]]) -> bytes:
        """The name it is prepared under."""
        now = monotonic()
        name, at = prepared.get(self, (b"", -math.inf))
        if now < at + PLAN_SECONDS:
            return name
        if name:
            _check(libpq, libpq.exec_(b"DEALLOCATE " + name))
        name = b"trainhub_%d" % next(self._numbers)
        _check(libpq, libpq.prepare(name, self._sql))
        prepared[self] = name, now
        return name


def _format(value: Any) -> PyFormat:
    return PyFormat.BINARY if isinstance(value, Bigints | Doubles) else PyFormat.TEXT


def _check(libpq: PGconn, result: PGresult) -> None:
    """Raise what ``result`` says went wrong, as psycopg does."""
    if result.status in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        return
    if libpq.status == ConnStatus.BAD:
        raise psycopg.OperationalError(libpq.get_error_message())
    raise psycopg.errors.error_from_result(result)
