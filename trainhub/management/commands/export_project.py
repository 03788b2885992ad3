"""manage.py export_project: all that belongs to a project, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from trainhub.moving.command import moving
from trainhub.moving.exporting import export_project

INCOMPLETE: Final = 3  # exit code: there is an export, but the storage lacked something


class Command(BaseCommand):
    help = (
        "Write all that belongs to a project into a folder: configuration, runs, metrics, logs, "
        "artifacts, code, models. Exit code 3: the storage lacked some files."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="ID of the project")
        parser.add_argument("folder", type=Path, help="new or empty folder")

    def handle(self, *, id: str, folder: Path, **options: Any) -> None:
        with moving():
            exported = export_project(id, folder.absolute())
            manifest = exported.manifest
            for problem in exported.problems:
                self.stderr.write(problem)
            text = _(
                "%(folder)s: %(runs)d runs, %(points)d points, %(lines)d log lines, %(files)d files"
            )
            values = {
                "folder": folder,
                "runs": manifest.counts["runs"],
                "points": manifest.counts["points"],
                "lines": manifest.counts["lines"],
                "files": manifest.counts["artifacts"] - len(manifest.missing),
            }
            self.stdout.write(text % values)
            if exported.problems:
                text = _("The export lacks %(count)d files, see above.")
                values = {"count": len(exported.problems)}
                raise CommandError(text % values, returncode=INCOMPLETE)
