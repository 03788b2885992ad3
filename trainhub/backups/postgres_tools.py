"""pg_dump and pg_restore: those of the embedded PostgreSQL, or the system's.

https://www.postgresql.org/docs/current/app-pgdump.html: they work on servers of their own version
and older ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _
from psycopg.conninfo import make_conninfo

from trainhub.backups import tables
from trainhub.backups.errors import BackupError
from trainhub.up.embedded_postgres import EmbeddedPostgres
from trainhub.up.postgres_account import installation
from trainhub.up.postgres_directory import DATA_DIRECTORY, has_cluster
from trainhub.up.postgres_errors import EmbeddedPostgresError, telling_line

MAX_JOBS: Final = 4
VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
COMPRESSION: Final = "3"  # of gzip: twice as fast as the default, a tenth larger
# What an owner is called, and who may do what, is of the server, not of TrainHub.
NOT_OURS: Final = ("--no-owner", "--no-privileges", "--no-comments", "--no-publications")


def server_major() -> int:
    """The major version of the database server."""
    connection.ensure_connection()
    version: int = connection.connection.info.server_version
    return version // 10_000


def dump(target: Path, *, snapshot: str) -> None:
    """Dump the database as of the exported ``snapshot`` into the new folder ``target``. Raises
    BackupError."""
    jobs = min(MAX_JOBS, os.cpu_count() or 1)
    options = ["--format=directory", f"--jobs={jobs}", f"--compress={COMPRESSION}", *NOT_OURS]
    _run("pg_dump", [*options, f"--snapshot={snapshot}", f"--file={target}"])


def load(source: Path) -> None:
    """Load a dump into the database, in one transaction. Raises BackupError."""
    _run("pg_restore", ["--single-transaction", "--exit-on-error", *NOT_OURS, str(source)])


def connect() -> psycopg.Connection[Any]:
    """A further connection to the database, outside of Django's. In a transaction that may last."""
    opened = psycopg.connect(_conninfo(), password=connection.connection.info.password or None)
    opened.execute("SET idle_in_transaction_session_timeout = 0")
    return opened


@contextmanager
def running_database(*, create: bool) -> Iterator[None]:
    """Start the embedded PostgreSQL for the block, unless it is running or another server is used.
    ``create`` its cluster if there is none. Raises BackupError."""
    embedded = EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR)
    if settings.DATABASE_URL or embedded.is_running:
        yield
        return
    if not create and not has_cluster(settings.EMBEDDED_POSTGRES_DIR / DATA_DIRECTORY):
        text = _("There is no database in %(path)s.")
        raise BackupError(text % {"path": settings.DATA_DIR})
    try:
        embedded.start()
    except EmbeddedPostgresError as error:
        raise BackupError(str(error)) from error
    try:
        yield
    finally:
        connection.close()  # it may be in any state
        is_shared = tables.other_sessions() > 0  # of a TrainHub that was started meanwhile
        connection.close()
        if not is_shared:
            embedded.stop()


def _run(program: str, arguments: Sequence[str]) -> None:
    command = [_program(program, server_major()), f"--dbname={_conninfo()}", *arguments]
    password = connection.connection.info.password
    environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
    )
    if result.returncode != 0:
        reason = telling_line(result.stderr.decode(errors="replace"))
        raise BackupError(
            _("%(program)s failed: %(reason)s") % {"program": program, "reason": reason}
        )


def _conninfo() -> str:
    """How Django connects, but for the password, which other users of the machine must not see."""
    connection.ensure_connection()
    parameters: dict[str, Any] = connection.connection.info.get_parameters()
    return make_conninfo(**{**parameters, "application_name": "trainhub backup"})


def _program(name: str, needed: int) -> str:
    """The newest one that there is. Raises BackupError if it is older than the server."""
    found = {version: path for path in _candidates(name) if (version := _major(path))}
    newest = max(found, default=0)
    if newest >= needed:
        return found[newest]
    if not newest:
        text = _(
            "There is no %(program)s: install PostgreSQL's client programs, %(needed)d or newer."
        )
        raise BackupError(text % {"program": name, "needed": needed})
    text = _(
        "%(program)s is of version %(newest)d, but the server of %(needed)d: install PostgreSQL's "
        "client programs of that version."
    )
    raise BackupError(text % {"program": name, "newest": newest, "needed": needed})


def _candidates(name: str) -> list[str]:
    found = [shutil.which(name)]
    with suppress(EmbeddedPostgresError):  # without the package: an external server is used
        found.append(str(installation() / "bin" / name))
    found += map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))
    return [path for path in found if path and os.access(path, os.X_OK)]


@cache
def _major(path: str) -> int:
    """0 if it does not start."""
    try:
        result = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = VERSION.search(result.stdout)
    return int(match[1]) if match else 0
