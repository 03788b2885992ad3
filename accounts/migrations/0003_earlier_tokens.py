"""Tokens of earlier releases, which were rows of django-rest-knox, stay valid."""

from typing import Any

from django.db import connection, migrations

from core.ids import new_id

EARLIER = "knox_authtoken"


def take_over(apps: Any, schema_editor: Any) -> None:
    """The hashes are the same. Which of them are those of runs, a migration of runs tells."""
    if EARLIER not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT digest, token_key, user_id, created, expiry FROM knox_authtoken")
        rows = [(new_id("token"), *row) for row in cursor.fetchall()]
        cursor.executemany(
            """
            INSERT INTO accounts_token
                (id, digest, beginning, user_id, created_at, expires_at, name, scope, run_id)
            VALUES (%s, %s, %s, %s, %s, %s, '', 'admin', '')
            """,
            rows,
        )
        cursor.execute("DROP TABLE knox_authtoken")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_access_version")]

    operations = [migrations.RunPython(take_over, migrations.RunPython.noop)]
