"""Tables and a clock of their own for a simulation, in the database that TrainHub uses.

The tables are in a schema that only this session looks into, and that is dropped at the end. The
schema also has the functions that tell the time: PostgreSQL finds a function by the search path, in
which ``pg_catalog`` comes after it.
(https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATH)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from unittest.mock import patch

from django.db import connection
from django.utils import timezone

from core.database import Statement
from core.pipeline import Query, query, together

CLOCKS: Final = ("now", "statement_timestamp", "transaction_timestamp", "clock_timestamp")

WRITTEN_ONLY: Final = {"runs_runevent"}  # by what a simulation does: no index is read

# With their storage parameters, which LIKE leaves out: without fillfactor, each update of a run
# would write to all of its indexes.
TABLES: Final = """
SELECT relname, array_to_string(reloptions, ', ') FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
SET_TIME: Final = Statement("SELECT set_config('simulation.now', %(time)s::text, false)")


class Clock:
    """The time of the database and of this process, while a simulation runs."""

    def __init__(self, began: datetime) -> None:
        self._began = began.timestamp()
        self.seconds = 0.0  # since the beginning

    def set(self, seconds: float) -> None:
        self.seconds = seconds
        together(self.query())

    def query(self) -> Query:
        """With which the database takes on the time of this process."""
        return query(SET_TIME, time=str(self.unix))

    @property
    def unix(self) -> float:
        return self._began + self.seconds

    def time(self) -> datetime:
        return datetime.fromtimestamp(self.unix, UTC)


@contextmanager
def sandbox(began: datetime) -> Iterator[Clock]:
    """Empty tables like those of the database, and a clock that stands at ``began``. Only in a
    process that does nothing else."""
    # Not by the process: those of two containers may have the same number.
    schema = f"simulation_{secrets.token_hex(8)}"
    clock = Clock(began)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute(TABLES)
        for table, options in cursor.fetchall():
            # Unlogged: nobody needs them after a crash. Without CHECKs, which every statement
            # that writes parses anew.
            left_out = "EXCLUDING CONSTRAINTS"
            if table in WRITTEN_ONLY:
                left_out += " EXCLUDING INDEXES"
            cursor.execute(
                f'CREATE UNLOGGED TABLE {schema}."{table}" '
                f'(LIKE public."{table}" INCLUDING ALL {left_out})'
            )
            if options:
                cursor.execute(f'ALTER TABLE {schema}."{table}" SET ({options})')
        for name in CLOCKS:
            cursor.execute(
                f"CREATE FUNCTION {schema}.{name}() RETURNS timestamptz LANGUAGE sql STABLE AS "
                "$$ SELECT to_timestamp(current_setting('simulation.now')::float8) $$"
            )
        clock.set(0.0)
        cursor.execute(f"SET search_path = {schema}, pg_catalog")
        cursor.execute("SET synchronous_commit = off")
    try:
        with patch.object(timezone, "now", clock.time):
            yield clock
    finally:
        connection.close()  # also ends whatever was left open
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def analyze(*tables: str) -> None:
    """Let the planner know what the tables hold now."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f'ANALYZE "{table}"')
