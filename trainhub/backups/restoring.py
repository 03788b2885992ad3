"""Brings a backup back: files first, then the database, then newer migrations."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils.translation import gettext as _
from tqdm import tqdm

from artifacts.models import Artifact, EvaluationResult
from artifacts.storage import HashingFile, artifact_storage, sha256_of
from core.sessions import lift_limits
from trainhub.backups import place, postgres_tools, tables
from trainhub.backups.errors import BackupError, byte_bar
from trainhub.backups.place import Backup, Kept, damaged
from trainhub.up import schema_upgrade

NUMBER: Final = re.compile(r"\d+")


def restore(backup: Backup, *, replace: bool) -> None:
    """Restore into an empty database, or ``replace`` what it has. Raises BackupError, OSError,
    django.db.Error, errors of the storage.

    Can be repeated: until all files are there, the database is left as it is.
    """
    lift_limits()
    _check_release(backup)
    _check_target(replace=replace)
    backup.check()
    if replace:
        backup.check_files()
    _restore_files(backup)
    if replace:
        tables.drop_everything()
    postgres_tools.load(backup.folder / place.DATABASE)
    connection.close()  # its prepared statements and its search path are those of before
    lift_limits()
    _check_tables(backup)
    _amend(backup.amended())
    tables.advance_sequences()
    schema_upgrade.migrate(verbosity=0)


def _check_release(backup: Backup) -> None:
    """Raises BackupError if a newer release has made it."""
    manifest = backup.manifest
    unknown = unknown_migrations(manifest.migrations)
    if unknown:
        text = _(
            "The backup was made by a newer release, %(version)s (%(migration)s): upgrade first."
        )
        raise BackupError(text % {"version": manifest.version, "migration": unknown[0]})
    if postgres_tools.server_major() < manifest.server_major:
        text = _(
            "The backup is of PostgreSQL %(backup)d, the server is %(server)d: upgrade it first."
        )
        server = postgres_tools.server_major()
        raise BackupError(text % {"backup": manifest.server_major, "server": server})


def unknown_migrations(applied: dict[str, list[str]]) -> list[str]:
    """Those that this release does not know and that are newer than its own."""
    loader = MigrationLoader(None)
    known: dict[str, set[str]] = {}
    for (app, name), migration in loader.disk_migrations.items():
        known.setdefault(app, set()).update({name, *(it for _app, it in migration.replaces)})
    return [
        f"{app}.{name}"
        for app, names in sorted(applied.items())
        for name in names
        if name not in known.get(app, ())
        and _number(name) > max(map(_number, known.get(app, [])), default=0)
    ]


def _number(name: str) -> int:
    """The highest in the name: a squashed one has two."""
    return max(map(int, NUMBER.findall(name)), default=0)


def _check_target(*, replace: bool) -> None:
    """Raises BackupError unless the database is empty, or nobody uses what is replaced."""
    if not tables.tables():
        return
    if not replace:
        raise BackupError(
            _(
                "The database is not empty. Restore into an empty one, or replace all that it has "
                "by --force."
            )
        )
    others = tables.other_sessions()
    if others:
        raise BackupError(
            _(
                "The database is in use by %(count)d other clients: stop the web server and the "
                "workers."
            )
            % {"count": others}
        )


def _restore_files(backup: Backup) -> None:
    with byte_bar(_("copying"), backup.manifest.file_bytes) as bar:
        for kept in backup.files():
            if kept.sha256:
                _restore_file(backup, kept)
            bar.update(kept.size_bytes if kept.sha256 else 0)


def _restore_file(backup: Backup, kept: Kept) -> None:
    """Nothing is copied that is there already: an interrupted restore is soon where it was."""
    try:
        if sha256_of(kept.key) == (kept.sha256, kept.size_bytes):
            return
    except FileNotFoundError:
        pass
    with backup.pool.opened(kept.sha256) as file:
        source = HashingFile(file, expected_bytes=kept.size_bytes)
        artifact_storage().save(kept.key, source)
    if source.sha256 != kept.sha256:
        raise damaged(backup.pool.path(kept.sha256))
    if sha256_of(kept.key) != (kept.sha256, kept.size_bytes):
        raise BackupError(_("%(key)s arrived damaged in the storage.") % {"key": kept.key})


def _check_tables(backup: Backup) -> None:
    """Compare every table with the backup's, row for row. Raises BackupError."""
    expected = backup.manifest.tables
    found = tables.tables()
    with (
        transaction.atomic(),
        tqdm(expected, desc=_("comparing"), unit=_(" tables"), disable=None) as bar,
    ):
        for name in bar:
            if name not in found or list(tables.summed_up(name)) != list(expected[name]):
                text = _("The table %(table)s is not as in the backup.")
                raise BackupError(text % {"table": name})


def _amend(rows: dict[str, Any]) -> None:
    """Bring the rows of files that were rewritten during the backup to the state of their bytes."""
    artifact, result = Artifact._meta.db_table, EvaluationResult._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        for row in rows["artifacts"]:
            columns = ", ".join(f'"{name}"' for name in row)
            cursor.execute(
                f"UPDATE {artifact} SET ({columns}) = (SELECT {columns} FROM"  # noqa: S608
                f" jsonb_populate_record(NULL::{artifact}, %s)) WHERE id = %s",
                [json.dumps(row), row["id"]],
            )
            cursor.execute(f"DELETE FROM {result} WHERE artifact_id = %s", [row["id"]])  # noqa: S608
        cursor.execute(
            f"INSERT INTO {result} SELECT * FROM"  # noqa: S608
            f" jsonb_populate_recordset(NULL::{result}, %s)",
            [json.dumps(rows["results"])],
        )
