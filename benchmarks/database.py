"""One PostgreSQL for every server, as TrainHub brings it along, with a database for each of them.

Durability is at its default (fsync and synchronous_commit on), for all alike.
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

from trainhub.embedded_postgres import PORT, USER, EmbeddedPostgres

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
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return found.fetchone() is not None

    def create(self, database: str, template: str = "template1") -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(database), sql.Identifier(template)))
            # What filling it has left to write must not fall into a measurement.
            connection.execute("CHECKPOINT")

    def drop(self, database: str) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(database)))

    def execute(self, database: str, statement: str, **parameters: Any) -> None:
        with self.connect(database) as connection:
            connection.execute(statement.encode(), parameters or None)

    def value(self, database: str, query: str, **parameters: Any) -> Any:
        """The first column of the first row."""
        with self.connect(database) as connection:
            row = connection.execute(query.encode(), parameters or None).fetchone()
        assert row is not None
        return row[0]

    def settle(self, database: str) -> None:
        """Statistics, visibility and disk as they are some time after much was written."""
        self.execute(database, "VACUUM (ANALYZE)")
        self.execute(database, "CHECKPOINT")

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The first lines of what is executed within, by anybody: from the server's log.

        Without what opens and closes transactions, and what drivers do to set up.
        """
        found: list[str] = []
        self._log_statements("all")
        offset = self.log_path.stat().st_size
        try:
            yield found
        finally:
            self._log_statements("none")
        text = self.log_path.read_bytes()[offset:].decode(errors="replace")
        for statement in re.findall(r"LOG:  (?:statement|execute [^:]*):\s+(.*)", text):
            if not re.match(NO_QUERIES, statement):
                found.append(statement)

    def _log_statements(self, which: str) -> None:
        with self.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET log_statement = '{which}'".encode())
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)  # every session hears of it


@contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """A PostgreSQL that is there for this run alone. The directory is emptied first."""
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
