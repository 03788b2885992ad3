"""The database as the migrations have left it, after a test that commits.

Django truncates every table and saves each migrated row again, which takes a second. Here only rows
that there are get deleted, and the migrated ones are copied in.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

LARGE = 1 << 20  # bytes of a table, from which on deleted rows would slow what reads it
# Neither constraints nor the audit look at what is put back as it was.
WITHOUT_TRIGGERS = "SET LOCAL session_replication_role = replica"


class MigratedRows:
    """A copy of all rows that there are when it is made."""

    def __init__(self) -> None:
        self._copies: dict[str, bytes] = {}
        tables = connection.introspection.django_table_names(only_existing=True)
        with connection.cursor() as cursor:
            for table, _size in _filled(tables):
                with cursor.copy(f'COPY "{table}" TO STDOUT') as copy:
                    self._copies[table] = b"".join(bytes(block) for block in copy)

    def install(self) -> None:
        """Use this copy and the deletion below in place of Django's ways."""
        connection.ops.sql_flush = sql_flush
        connection.creation.deserialize_db_from_string = lambda _rows: self.restore()

    def restore(self) -> None:
        """Into empty tables; does nothing if that has been done."""
        if _filled(["django_content_type"]):
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(WITHOUT_TRIGGERS)
            for table, rows in self._copies.items():
                with cursor.copy(f'COPY "{table}" FROM STDIN') as copy:
                    copy.write(rows)


def sql_flush(_style: Any, tables: Sequence[str], **_options: bool) -> list[str]:
    """In place of django.db.backends.postgresql.operations.DatabaseOperations.sql_flush."""
    statements = [WITHOUT_TRIGGERS]
    for table, size in _filled(tables):
        large = f'TRUNCATE "{table}" CASCADE'  # CASCADE: to tables that become empty as well
        statements.append(large if size > LARGE else f'DELETE FROM "{table}"')
    return statements


def _filled(tables: Sequence[str]) -> list[tuple[str, int]]:
    """Those that have rows, with the bytes that they take."""
    each = (
        f"SELECT '{table}', pg_relation_size('\"{table}\"') WHERE EXISTS (SELECT FROM \"{table}\")"
        for table in tables
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(each))
        return cursor.fetchall()
