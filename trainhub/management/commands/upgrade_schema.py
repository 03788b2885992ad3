"""One-time upgrade of databases created before 0.1.0."""

from typing import Any

from django.core.management.base import BaseCommand

from trainhub.up import schema_upgrade


class Command(BaseCommand):
    help = (
        "Convert a database created before 0.1.0 to the current tables. Idempotent. Stop the web "
        "server and the workers first, and run migrate afterwards."
    )

    def handle(self, **options: Any) -> None:
        if schema_upgrade.is_needed():
            schema_upgrade.upgrade()
            self.stdout.write("Schema upgraded. Now run migrate.")
        else:
            self.stdout.write("Nothing to upgrade.")
