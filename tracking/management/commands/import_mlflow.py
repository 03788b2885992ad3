"""manage.py import_mlflow: bring in what a running MLflow server has."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import translation
from django.utils.translation import gettext as _
from tqdm import tqdm

from accounts.named import team_named, user_named
from core.exceptions import DomainError
from core.terminal import terminal_language, unanswered
from tracking.imports.connection import ServerAway, ServerRefused, Stopped
from tracking.imports.context import Context
from tracking.imports.importing import Import
from tracking.imports.server import MlflowServer

INTERRUPTED: Final = 130  # the shell's exit code after Ctrl-C


class Command(BaseCommand):
    help = (
        "Import the experiments, runs, metrics, artifacts and models of a running MLflow server. "
        "May be started again at any time: it adds what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("uri", help="address of the server, e.g. http://127.0.0.1:5000")
        parser.add_argument(
            "--experiment",
            action="append",
            default=[],
            metavar="NAME",
            help="name of an experiment; may be repeated (default: all, deleted ones too)",
        )
        parser.add_argument("--owner", metavar="USER", help="who owns the new projects")
        parser.add_argument("--team", metavar="TEAM", help="whose projects they are")
        parser.add_argument(
            "--no-artifacts", action="store_true", help="leave the files where they are"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell what would be imported"
        )

    def handle(self, *, uri: str, **options: Any) -> None:
        with translation.override(terminal_language()):
            try:
                self._import(uri, **options)
            except DomainError as error:
                raise CommandError(str(error.message)) from None
            except (ServerAway, ServerRefused) as error:
                raise CommandError(str(error)) from None
            except OperationalError as error:
                raise CommandError(unanswered(error)) from error
            except (KeyboardInterrupt, Stopped):
                text = _("Interrupted. The same command goes on from here.")
                raise CommandError(text, returncode=INTERRUPTED) from None

    def _import(
        self,
        uri: str,
        *,
        experiment: list[str],
        owner: str | None,
        team: str | None,
        no_artifacts: bool,
        dry_run: bool,
        **options: Any,
    ) -> None:
        """Raises CommandError, DomainError, ServerAway, ServerRefused."""
        context = Context(
            MlflowServer(uri),
            owner=user_named(owner),
            team=team_named(team),
            with_files=not no_artifacts,
            tell=self._say,
        )
        # On standard error, only if it is a terminal.
        with tqdm(total=0, unit=f" {_('runs')}", disable=None) as bar:
            importing = Import(context, bar, experiment)
            if dry_run:
                self._rehearse(importing)
                return
            try:
                importing.run()
            finally:
                bar.close()
                self._report(context)
        if context.problems:
            text = _("Not imported: %(count)d, see above.") % {"count": len(context.problems)}
            raise CommandError(text)

    def _rehearse(self, importing: Import) -> None:
        for experiment, runs, here in importing.rehearse():
            text = _("%(name)s: %(runs)d runs, %(here)d of them are here already")
            self._say(text % {"name": experiment.name, "runs": runs, "here": here})

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode():
            self.stdout.write(text)

    def _report(self, context: Context) -> None:
        totals = context.totals
        text = _(
            "Runs: %(new)d new, %(continued)d continued, %(unchanged)d unchanged, %(trash)d in the "
            "trash. New points: %(points)d. Files: %(files)d (%(megabytes).1f MB). Logged models: "
            "%(logged)d. Registered models: %(models)d, versions: %(versions)d."
        )
        values = {
            "new": totals.runs_new,
            "continued": totals.runs_continued,
            "unchanged": totals.runs_unchanged,
            "trash": totals.runs_in_trash,
            "points": totals.points,
            "files": totals.files,
            "megabytes": totals.bytes / 1e6,
            "logged": totals.logged_models,
            "models": totals.models,
            "versions": totals.versions,
        }
        self.stdout.write(text % values)
