"""manage.py restore: bring a backup back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from trainhub.backups.command import described, operating
from trainhub.backups.making import key_fingerprint
from trainhub.backups.place import find
from trainhub.backups.restoring import restore


class Command(BaseCommand):
    help = (
        "Restore a backup into an empty database and the storage, verify it, and bring it to this "
        "release. The web server and the workers must not run."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "directory",
            type=Path,
            help="a backup, or where backups are kept: then the newest one",
            metavar="DIR",
        )
        parser.add_argument(
            "--check", action="store_true", help="only read everything of the backup"
        )
        parser.add_argument(
            "--force", action="store_true", help="delete all that the database has, first"
        )

    def handle(self, *, directory: Path, check: bool, force: bool, **options: Any) -> None:
        with operating(create=not check):
            backup = find(directory.absolute())
            if check:
                backup.check()
                backup.check_files()
            else:
                restore(backup, replace=force)
            self.stdout.write(f"{backup.folder}: {described(backup)}")
            if not check and key_fingerprint() != backup.manifest.key_fingerprint:
                self.stderr.write(
                    _(
                        "The secret key is not that of the backup: people must sign in again, and "
                        "what was encrypted with it cannot be read. Set TRAINHUB_SECRET_KEY."
                    )
                )
