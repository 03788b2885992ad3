"""manage.py backup: the database and all stored files, while the system is running."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from trainhub.backups import place
from trainhub.backups.command import described, operating
from trainhub.backups.making import make_backup
from trainhub.backups.place import Backup

INCOMPLETE: Final = 3  # exit code: there is a backup, but the storage lacked something


class Command(BaseCommand):
    help = (
        "Back up the database and all stored files into a directory, while the system is running. "
        "Files that an earlier backup in it has are not copied again. Exit code 3: the backup was "
        "made, but the storage lacks files or has damaged ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="where backups are kept", metavar="DIR")
        parser.add_argument(
            "--verify", action="store_true", help="read everything of the backup again"
        )
        parser.add_argument(
            "--keep", type=int, metavar="N", help="then remove all but the newest N backups"
        )

    def handle(self, *, directory: Path, verify: bool, keep: int | None, **options: Any) -> None:
        if keep is not None and keep < 1:
            raise CommandError("--keep must be at least 1.")
        with operating(create=False):
            backup = make_backup(directory.absolute(), verify=verify, keep=keep)
            self.stdout.write(f"{backup.folder}: {described(backup)}")
            self._tell_problems(backup)

    def _tell_problems(self, backup: Backup) -> None:
        """Raises CommandError if the storage lacked something."""
        missing, differing = backup.manifest.missing, backup.manifest.differing
        if missing or differing:
            text = _(
                "The backup is as the storage is: %(missing)d files are missing there, "
                "%(differing)d are not as recorded. They are listed in %(manifest)s; manage.py "
                "verify_artifacts tells whose they are."
            )
            values = {"missing": len(missing), "differing": len(differing)}
            path = backup.folder / place.MANIFEST
            raise CommandError(text % {**values, "manifest": path}, returncode=INCOMPLETE)
