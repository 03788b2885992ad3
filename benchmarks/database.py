"""The PostgreSQL that TrainHub includes, shared by all servers, with a separate database for each.

Durability settings are the defaults (fsync and synchronous_commit on) for all servers.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from trainhub.up.embedded_postgres import PORT, USER, EmbeddedPostgres

NO_QUERIES = r"(BEGIN|COMMIT|ROLLBACK|SET|SHOW|SELECT 1$|ALTER SYSTEM|SELECT pg_reload_conf)"


class Cluster:
    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def pid(self) -> int:
        pid = self._server.pid
        assert pid is not None
        return pid

    @property
    def log_path(self) -> Path:
        return self._server.log_path

    def url(self, database: str, scheme: str = "postgresql") -> str:
        host = quote(str(self._server.directory), safe="")
        return f"{scheme}://{USER}@/{database}?host={host}&port={PORT}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Autocommit."""
        return psycopg.connect(self.url(database), autocommit=True)

    def has(self, database: str) -> bool:
        with self.connect() as connection:
            cursor = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return cursor.fetchone() is not None

    def create(self, database: str, template: str = "template1") -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(database), sql.Identifier(template)))
            # Flush pending writes now, so that they do not affect a measurement.
            connection.execute("CHECKPOINT")

    def drop(self, database: str) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(database)))

    def execute(self, database: str, statement: str, **parameters: Any) -> None:
        with self.connect(database) as connection:
            connection.execute(statement.encode(), parameters or None)

    def fill(self, database: str, statement: str, **parameters: Any) -> None:
        """Insert rows by the million, without triggers: the audit tells nothing of them."""
        with self.connect(database) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement.encode(), parameters or None)

    def value(self, database: str, query: str, **parameters: Any) -> Any:
        """Return the first column of the first row."""
        with self.connect(database) as connection:
            row = connection.execute(query.encode(), parameters or None).fetchone()
        assert row is not None
        return row[0]

    def settle(self, database: str) -> None:
        """Update statistics and visibility map and flush to disk, as after normal operation."""
        self.execute(database, "VACUUM (ANALYZE)")
        self.execute(database, "CHECKPOINT")

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the first line of every statement that any client executes, from the server log.

        Transaction control and the setup statements of drivers are omitted.
        """
        statements: list[str] = []
        self._log_statements("all")
        offset = self.log_path.stat().st_size
        try:
            yield statements
        finally:
            self._log_statements("none")
        text = self.log_path.read_bytes()[offset:].decode(errors="replace")
        for statement in re.findall(r"LOG:  (?:statement|execute [^:]*):\s+(.*)", text):
            if not re.match(NO_QUERIES, statement):
                statements.append(statement)

    def _log_statements(self, setting: str) -> None:
        with self.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET log_statement = '{setting}'".encode())
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)  # until every session has reloaded


@contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """Run a PostgreSQL for this benchmark only. The directory is deleted first."""
    cluster = Cluster(directory / "postgres")
    cluster.stop()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory / "postgres")
