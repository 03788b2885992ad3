"""Upgrades a database created before 0.1.0 to the current apps by renaming; copies no rows.

Before 0.1.0, the tables of metrics and logs belonged to the app runs, and those of the model
registry to artifacts. `manage.py upgrade_schema` runs this; `manage.py up` and `manage.py serve
--migrate` run it before the migrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.db import OperationalError, connection, transaction
from psycopg import sql
from psycopg.errors import LockNotAvailable

from core.sessions import lift_limits

# The last migrations before the apps were split. Older databases must apply them first.
LAST_MIGRATIONS: Final = {
    "projects": "0003_by_name",
    "runs": "0007_script_tokens",
    "artifacts": "0004_registry",
}
# The current migrations that are equivalent to the renamed tables.
FIRST_MIGRATIONS: Final = [
    ("projects", "0001_initial"),
    ("runs", "0001_initial"),
    ("runs", "0002_recipes"),
    ("metrics", "0001_initial"),
    ("logs", "0001_initial"),
    ("artifacts", "0001_initial"),
    ("registry", "0001_initial"),
]
# Old (app, model) → new (app, model).
MODELS: Final = {
    ("runs", "metricseries"): ("metrics", "metricseries"),
    ("runs", "metricpoint"): ("metrics", "metricpoint"),
    ("runs", "metricbucket"): ("metrics", "metricbucket"),
    ("runs", "logline"): ("logs", "logline"),
    ("runs", "logblock"): ("logs", "logblock"),
    ("runs", "logbatch"): ("logs", "logbatch"),
    ("artifacts", "loosebytes"): ("artifacts", "unreferencedblob"),
    ("artifacts", "registeredmodel"): ("registry", "registeredmodel"),
    ("artifacts", "modelversion"): ("registry", "modelversion"),
    ("artifacts", "modelalias"): ("registry", "modelalias"),
    ("artifacts", "loggedmodel"): ("registry", "loggedmodel"),
    ("artifacts", "loggedmodelmetric"): ("registry", "loggedmodelmetric"),
}
VERBOSE_NAME: Final = ("loose bytes", "unreferenced blob")  # old, new: in names of permissions

# These differ from every other advisory lock.
UPGRADE_LOCK: Final = 0x7570_6772
MIGRATE_LOCK: Final = 0x6D69_6772
# How long a statement waits for a table that something else still uses.
LOCK_TIMEOUT: Final = "10s"
RESUMED_FROM: Final = """
ALTER TABLE runs_run ADD CONSTRAINT run_resumed_from
FOREIGN KEY (resumed_from_id) REFERENCES artifacts_artifact (id) DEFERRABLE INITIALLY IMMEDIATE
"""


def migrate(*, verbosity: int = 1, stdout: OutputWrapper | None = None) -> None:
    """Upgrade if needed, then run the migrations. ``stdout``: where they report progress.

    Of servers that start at once, one migrates and the others wait and find the work done.
    """
    with _one_at_a_time():
        if is_needed():
            upgrade()
        call_command("migrate", interactive=False, verbosity=verbosity, stdout=stdout)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    lift_limits()
    _execute("SELECT pg_advisory_lock(%s)", MIGRATE_LOCK)
    try:
        yield
    finally:
        if connection.is_usable():  # else the server has released it
            _execute("SELECT pg_advisory_unlock(%s)", MIGRATE_LOCK)


def is_needed() -> bool:
    """Whether this database still has the tables from before 0.1.0."""
    with connection.cursor() as cursor:
        # Not to_regclass: its cache may be older than the wait for a lock.
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_tables WHERE tablename = 'runs_metricseries'"
            " AND schemaname = ANY (current_schemas(false)))"
        )
        (needed,) = cursor.fetchone()
    return bool(needed)


def upgrade() -> None:
    """Upgrade in one transaction. Raises CommandError if LAST_MIGRATIONS are not applied or a table
    is in use."""
    with _lock_timeout_error(), transaction.atomic():
        # Of two servers that start at once, the second finds the work done.
        _execute("SET LOCAL lock_timeout = 0")
        _execute("SELECT pg_advisory_xact_lock(%s)", UPGRADE_LOCK)
        if not is_needed():
            return
        _check_migrations()
        _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        for old, new in MODELS.items():
            _rename_table("_".join(old), "_".join(new))
            _rename_model(old, new)
        _execute("UPDATE auth_permission SET name = replace(name, %s, %s)", *VERBOSE_NAME)
        _execute("ALTER TABLE runs_worker RENAME COLUMN seats TO slots")
        _execute("ALTER INDEX run_external RENAME TO run_unmanaged")
        _replace_resumed_from()
        _replace_migrations()


@contextmanager
def _lock_timeout_error() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise CommandError(
            "The database is in use: stop the web server and the workers first."
        ) from error


def _execute(statement: str | sql.Composed, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)  # type: ignore[arg-type]


def _check_migrations() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        applied = set(cursor.fetchall())
    missing = sorted(set(LAST_MIGRATIONS.items()) - applied)
    if missing:
        raise CommandError(
            f"This database is too old to upgrade: {'.'.join(missing[0])} is not applied. Run the "
            "migrations of the last commit before 0.1.0 first."
        )


def _rename_table(old: str, new: str) -> None:
    """Rename a table and the constraints, indexes and sequences named after it."""
    for kind, name in _names_of(old):
        renamed = f"{new}{name.removeprefix(old)}"
        if kind == "constraint":
            statement = sql.SQL("ALTER TABLE {old} RENAME CONSTRAINT {name} TO {renamed}")
        else:
            statement = sql.SQL(f"ALTER {kind} {{name}} RENAME TO {{renamed}}")
        names = {"old": old, "name": name, "renamed": renamed}
        _execute(statement.format(**{key: sql.Identifier(it) for key, it in names.items()}))
    _execute(
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )


def _names_of(table: str) -> list[tuple[str, str]]:
    """(kind, name) of the constraints, indexes and sequences of ``table`` that are named after it.
    Omits the indexes of constraints, which are renamed with the constraint."""
    query = """
        SELECT 'constraint', conname FROM pg_constraint
        WHERE conrelid = %(table)s::regclass AND starts_with(conname, %(table)s)
        UNION ALL
        SELECT 'INDEX', class.relname
        FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid
        WHERE indrelid = %(table)s::regclass AND starts_with(class.relname, %(table)s)
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        UNION ALL
        SELECT 'SEQUENCE', class.relname
        FROM pg_depend JOIN pg_class AS class ON class.oid = objid AND class.relkind = 'S'
        WHERE refobjid = %(table)s::regclass AND starts_with(class.relname, %(table)s)
    """
    with connection.cursor() as cursor:
        cursor.execute(query, {"table": table})
        return list(cursor.fetchall())


def _rename_model(old: tuple[str, str], new: tuple[str, str]) -> None:
    """Rename a model's content type and permissions, so that references to them stay valid."""
    _execute(
        """
        UPDATE auth_permission SET codename = replace(codename, %s, %s)
        FROM django_content_type AS type
        WHERE type.id = content_type_id AND (type.app_label, type.model) = (%s, %s)
        """,
        old[1],
        new[1],
        *old,
    )
    _execute(
        "UPDATE django_content_type SET app_label = %s, model = %s "
        "WHERE (app_label, model) = (%s, %s)",
        *new,
        *old,
    )


def _replace_resumed_from() -> None:
    """Make the foreign key from a run to its source checkpoint immediate instead of deferred."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint "
            "WHERE conrelid = 'runs_run'::regclass AND confrelid = 'artifacts_artifact'::regclass"
        )
        names = [name for (name,) in cursor.fetchall()]
    for name in names:
        _execute(sql.SQL("ALTER TABLE runs_run DROP CONSTRAINT {}").format(sql.Identifier(name)))
    _execute(RESUMED_FROM)


def _replace_migrations() -> None:
    _execute("DELETE FROM django_migrations WHERE app = ANY(%s)", list(LAST_MIGRATIONS))
    for app, name in FIRST_MIGRATIONS:
        _execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())", app, name
        )
