"""Statements that must be quick: prepared once a connection, parameters in binary.

Django's own cursors bind parameters in the client and prepare nothing; planning a long statement
anew costs more than running it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import psycopg
from django.db import connection
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

INT8, FLOAT8, INT8_ARRAY, FLOAT8_ARRAY = 20, 701, 1016, 1022  # types' oids, fixed in pg_type.dat


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


def teach_arrays(*, connection: Any, **_signal: Any) -> None:
    """A receiver of Django's connection_created (see TrainHubConfig)."""
    connection.connection.adapters.register_dumper(Bigints, _BigintsDumper)
    connection.connection.adapters.register_dumper(Doubles, _DoublesDumper)


def execute(query: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[Any]:
    """Run ``query`` on Django's connection, in its transaction if there is one.

    Raises psycopg's errors as Django's (django.db.utils).
    """
    connection.ensure_connection()
    if connection.queries_logged:  # tests count queries
        connection.queries_log.append({"sql": query, "time": ""})
    with connection.wrap_database_errors:
        return psycopg.Cursor(connection.connection).execute(query, parameters, prepare=True)


def rows(query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return execute(query, parameters).fetchall()


def one(query: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """The row of a query that always has one."""
    row: tuple[Any, ...] | None = execute(query, parameters).fetchone()
    assert row is not None
    return row
