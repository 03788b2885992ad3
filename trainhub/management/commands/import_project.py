"""manage.py import_project: a project that export_project has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from accounts.named import team_named, user_named
from trainhub.moving.command import moving
from trainhub.moving.importing import import_project


class Command(BaseCommand):
    help = "Import a project from a folder that export_project has written: whole or not at all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--name", default="", help="of the project (default: the same)")
        parser.add_argument("--owner", metavar="USER", help="who owns it")
        parser.add_argument("--team", metavar="TEAM", help="whose project it is")
        parser.add_argument(
            "--keep-releases",
            action="store_true",
            help="released checkpoints stay released (default: they are candidates here)",
        )

    def handle(
        self,
        *,
        folder: Path,
        name: str,
        owner: str | None,
        team: str | None,
        keep_releases: bool,
        **options: Any,
    ) -> None:
        with moving():
            imported = import_project(
                folder.absolute(),
                name=name,
                owner=user_named(owner),
                team=team_named(team),
                keep_releases=keep_releases,
            )
            for note in imported.notes:
                self.stdout.write(note)
            text = _("%(id)s %(name)s: %(runs)d runs")
            values = {
                "id": imported.project.pk,
                "name": imported.project.name,
                "runs": imported.manifest.counts["runs"],
            }
            self.stdout.write(text % values)
