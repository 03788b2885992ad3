"""Whether the database has what this version's code expects of it."""

from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def has_every_migration() -> bool:
    """Whether all migrations of this version are applied. Raises django.db.Error."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
