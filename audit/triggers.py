"""The triggers that write entries: one on each table that an app declares (core/audited.py).

They are made anew after each ``migrate``, of the declarations, so that they always fit the columns.
A trigger of columns (``UPDATE OF``) costs nothing where none of them is set: a run's row is updated
with every point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from django.db import connection, transaction
from django.db.migrations import AlterField
from django.db.migrations.migration import Migration

from core.audited import Audited, declared

TRIGGER: Final = "audit"
HIDDEN: Final = "…"
CREATE: Final = """
CREATE OR REPLACE FUNCTION audit_{table}() RETURNS trigger LANGUAGE plpgsql AS $audit$
DECLARE
    it {table};
    earlier {table};
    later {table};
    before jsonb;
    after jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        earlier := OLD;
        later := OLD;
        it := OLD;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        later := NEW;
        it := NEW;
    END IF;
    IF TG_OP = 'INSERT' THEN
        earlier := NEW;
    END IF;
    IF NOT ({when}) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        before := jsonb_build_object({changing_before});
        after := jsonb_build_object({changing_after});
    ELSIF TG_OP = 'DELETE' THEN
        before := jsonb_build_object({before});
    ELSE
        after := jsonb_build_object({after});
    END IF;
    PERFORM audit_note(
        TG_OP, {kind}, ({subject})::text, ({name})::text, ({project})::text, ({team})::text,
        before, after, {actions}, {only_by_users}
    );
    RETURN NULL;
END
$audit$;
CREATE OR REPLACE TRIGGER {trigger} AFTER {events} ON {table}
FOR EACH ROW EXECUTE FUNCTION audit_{table}();
"""


def statements_of(specification: Audited) -> str:
    """The SQL that makes the trigger, or brings it up to date."""
    own = {"table": specification.table, "trigger": TRIGGER}
    expressions = {
        name: getattr(specification, name).format(row="it")
        for name in ("subject", "name", "project", "team", "when")
    }
    return CREATE.format(
        **own,
        **expressions,
        kind=_literal(specification.kind),
        changing_before=_object(specification, specification.watched, "earlier", "earlier"),
        changing_after=_object(specification, specification.watched, "earlier", "later"),
        before=_object(specification, specification.columns, "earlier", "earlier"),
        after=_object(specification, specification.columns, "later", "later"),
        actions=_literal(orjson.dumps([*specification.actions.items()]).decode()) + "::jsonb",
        only_by_users=str(specification.only_by_users).lower(),
        events=" OR ".join(_events(specification)),
    )


def _events(specification: Audited) -> list[str]:
    columns = ", ".join(specification.watched)
    return [
        f"UPDATE OF {columns}" if operation == "UPDATE" else operation
        for operation in specification.operations
    ]


def _object(specification: Audited, columns: Sequence[str], earlier: str, later: str) -> str:
    return ", ".join(
        f"{_literal(column)}, {_value(specification, column, earlier, later)}" for column in columns
    )


def _value(specification: Audited, column: str, earlier: str, later: str) -> str:
    if column in specification.secret:
        return f"audit_hidden(to_jsonb({earlier}.{column}), to_jsonb({later}.{column}))"
    value = f"to_jsonb({later}.{column})"
    if column in specification.masked:
        keys = ", ".join(map(_literal, specification.masked[column]))
        value = f"audit_masked(to_jsonb({earlier}.{column}), {value}, ARRAY[{keys}]::text[])"
    return f"audit_short({value})"


def _literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def before_migrating(plan: Iterable[tuple[Migration, bool]] = (), **_signal: Any) -> None:
    """Receiver of pre_migrate. PostgreSQL changes no type of a column that a trigger names: drop
    those of the tables in which one is to be changed. They are made again afterwards."""
    altered = {
        (migration.app_label, operation.model_name_lower)
        for migration, _is_backwards in plan
        for operation in migration.operations
        if isinstance(operation, AlterField)
    }
    tables = [
        specification.table
        for specification in declared()
        if (specification.model._meta.app_label, specification.model._meta.model_name) in altered
    ]
    there = existing_columns()
    with connection.cursor() as cursor:
        for table in tables:
            if table in there:
                cursor.execute(f"DROP TRIGGER IF EXISTS {TRIGGER} ON {table}")


def after_migrating(**_signal: Any) -> None:
    """Receiver of post_migrate. A table that is not migrated so far is left out."""
    there = existing_columns()
    if "audit_entry" not in there:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        for specification in declared():
            needed = {*specification.columns, *specification.watched}
            if needed <= there.get(specification.table, set()):
                cursor.execute(statements_of(specification))


def existing_columns() -> dict[str, set[str]]:
    columns: dict[str, set[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema()"
        )
        for table, column in cursor.fetchall():
            columns.setdefault(table, set()).add(column)
    return columns
