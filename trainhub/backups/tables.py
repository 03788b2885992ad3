"""Counts and checksums of the database's tables, and its sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from django.db import connection, transaction
from psycopg import sql

# By which a row's text is the same on every server.
OUTPUT: Final = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
TABLES: Final = """
SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename
"""
# The sum does not depend on the order of the rows.
CHECKSUM: Final = sql.SQL("""
SELECT count(*), coalesce(sum(('x' || left(md5(it::text), 15))::bit(60)::bigint::numeric), 0)::text
FROM {table} AS it
""")
SEQUENCES: Final = """
SELECT sequence.relname, "table".relname, attname
FROM pg_depend
JOIN pg_class AS sequence ON sequence.oid = objid AND sequence.relkind = 'S'
JOIN pg_class AS "table" ON "table".oid = refobjid
JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
WHERE deptype IN ('a', 'i') AND sequence.relnamespace = current_schema()::regnamespace
"""
ADVANCE: Final = sql.SQL("""
SELECT setval({sequence}::regclass, highest)
FROM (SELECT max({column}) AS highest FROM {table}) AS it
WHERE highest > (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {name})
""")


class Table(NamedTuple):
    rows: int
    checksum: str


def tables() -> list[str]:
    return [name for (name,) in _rows(TABLES)]


def summed_up(table: str) -> Table:
    """Reads the whole table. In a transaction."""
    for name, value in OUTPUT.items():
        _rows(f"SET LOCAL {name} = '{value}'", returns=False)
    [(rows, checksum)] = _rows(CHECKSUM.format(table=sql.Identifier(table)))
    return Table(rows, checksum)


def advance_sequences() -> None:
    """Let no sequence give a value that a row has."""
    for sequence, table, column in _rows(SEQUENCES):
        statement = ADVANCE.format(
            sequence=sql.Literal(sql.Identifier(sequence).as_string(None)),
            name=sql.Identifier(sequence),
            column=sql.Identifier(column),
            table=sql.Identifier(table),
        )
        _rows(statement)


@contextmanager
def exported_snapshot() -> Iterator[str]:
    """All that Django's connection reads in the block is as of one moment, as is what others read
    that import the snapshot of this name."""
    with transaction.atomic():
        _rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", returns=False)
        [(name,)] = _rows("SELECT pg_export_snapshot()")
        yield name


# Functions of triggers; not those of extensions.
_FUNCTIONS = """
SELECT pg_proc.oid::regprocedure::text FROM pg_proc
WHERE pronamespace = current_schema()::regnamespace AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
)
"""


def drop_everything() -> None:
    """Drop all tables and functions, with what depends on them. Raises
    django.db.OperationalError if others use them."""
    with transaction.atomic():
        for name in tables():
            statement = sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(name))
            _rows(statement, returns=False)
        for (signature,) in _rows(_FUNCTIONS):  # quoted by PostgreSQL
            _rows(sql.SQL("DROP ROUTINE " + signature + " CASCADE"), returns=False)


def other_sessions() -> int:
    """How many other clients use the database."""
    [(count,)] = _rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return int(count)


def _rows(statement: Any, *, returns: bool = True) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if returns else []
