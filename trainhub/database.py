"""Statements that must be quick: prepared once a connection, parameters in binary.

Django's own cursors bind parameters in the client and prepare nothing; planning a long statement
anew costs more than running it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import psycopg
from django.db import connection
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

INT8, FLOAT8, INT8_ARRAY, FLOAT8_ARRAY = 20, 701, 1016, 1022  # types' oids, fixed in pg_type.dat


# What a prepared statement ends in after another process has migrated the tables, or has thrown
# away what this connection has prepared.
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


def prepare_connection(*, connection: Any, **_signal: Any) -> None:
    """A receiver of Django's connection_created (see TrainHubConfig)."""
    connection.connection.adapters.register_dumper(Bigints, _BigintsDumper)
    connection.connection.adapters.register_dumper(Doubles, _DoublesDumper)
    # Prepared statements, which are ours alone, are planned once. By itself PostgreSQL plans our
    # longest at every call, which takes longer than running it for a single point.
    connection.connection.execute("SET plan_cache_mode = force_generic_plan")


class Statement:
    """SQL with ``%(name)s`` for its parameters, as psycopg has them, prepared on first use.

    psycopg itself would read the text again at every call, once it is longer than 4,096 characters.
    """

    def __init__(self, text: str) -> None:
        numbers: dict[str, int] = {}

        def placeholder(match: re.Match[str]) -> str:
            return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

        self._sql = re.sub(r"%\((\w+)\)s", placeholder, text).encode()
        self._names = list(numbers)

    def run(self, **parameters: Any) -> psycopg.Cursor[Any]:
        """Run it on Django's connection, in its transaction if there is one.

        Outside of one it is run again if the connection turns out to have died, or to have prepared
        it for tables that have changed since: it must be a statement that may be repeated. Raises
        psycopg's errors as Django's (django.db.utils).
        """
        connection.ensure_connection()
        if connection.queries_logged:  # tests count queries
            connection.queries_log.append({"sql": self._sql.decode(), "time": ""})
        values = [parameters[name] for name in self._names]
        with connection.wrap_database_errors:
            try:
                return self._run(values)
            except (psycopg.OperationalError, *STALE) as error:
                stale = isinstance(error, STALE)
                if connection.in_atomic_block or (not stale and connection.is_usable()):
                    raise
                connection.close()
                connection.connect()
                return self._run(values)

    def _run(self, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        cursor = psycopg.RawCursor(connection.connection)
        return cursor.execute(self._sql, values, prepare=True)

    def rows(self, **parameters: Any) -> list[tuple[Any, ...]]:
        return self.run(**parameters).fetchall()

    def row(self, **parameters: Any) -> tuple[Any, ...] | None:
        """The first, if there is any."""
        return self.run(**parameters).fetchone()
