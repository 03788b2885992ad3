"""manage.py verify_artifacts: read all that is stored again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import F, Q, Sum
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from tqdm import tqdm

from artifacts.models import Artifact, ArtifactQuerySet
from artifacts.storage_errors import FAILURES
from artifacts.verification import verify
from core.messages import Message, Text
from core.terminal import terminal_language
from core.text import storable
from projects.models import Project
from runs.models import Run
from trainhub.backups.command import operating
from trainhub.backups.errors import byte_bar
from trainhub.storage_check import orphans, problem_of
from trainhub.stored_files import other_references

IDS_AT_ONCE = 500
# A file that the disk or S3 cannot read is told as one; so many in a row mean that nothing can be.
MAX_UNREADABLE = 10


class Command(BaseCommand):
    help = (
        "Read the bytes of all stored artifacts and code bundles, those first that were verified "
        "longest ago, and compare them with the recorded sha256. Tells which files are missing, "
        "damaged, or belong to nothing; notes damage, so that no run resumes from it. Exit code 1 "
        "if there is any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", default="", help="only what this project has (its ID)")
        parser.add_argument("--run", default="", help="only what this run has (its ID)")
        parser.add_argument(
            "--days",
            type=float,
            help="only artifacts that were not verified within so many days; no others",
        )

    def handle(self, *, project: str, run: str, days: float | None, **options: Any) -> None:
        with operating(create=False), translation.override(terminal_language()):
            self.found = self.unreadable = 0
            project, run = _scope(project, run)
            checked = self._verify_artifacts(_chosen(project, run, days))
            if days is None:
                if not project:
                    checked += self._verify_others()
                self._tell_orphans("/".join(filter(None, (project, run))))
            if self.found:
                text = _("%(checked)d files were read; %(found)d problems, see above.")
                raise CommandError(text % {"checked": checked, "found": self.found})
            text = _("%(checked)d files were read: all are as they were stored.")
            self.stdout.write(text % {"checked": checked})

    def _verify_artifacts(self, artifacts: ArtifactQuerySet) -> int:
        """How many. By their ids: reading them takes hours, and rows change meanwhile."""
        ids = list(artifacts.values_list("pk", flat=True))
        total = artifacts.order_by().aggregate(total=Sum("size_bytes"))["total"] or 0
        with byte_bar(_("reading"), total) as bar:
            for start in range(0, len(ids), IDS_AT_ONCE):
                rows = Artifact.objects.select_related("run").in_bulk(
                    ids[start : start + IDS_AT_ONCE]
                )
                for pk in ids[start : start + IDS_AT_ONCE]:
                    if pk in rows:
                        self._verify(rows[pk])
                        bar.update(rows[pk].size_bytes)
        return len(ids)

    def _verify(self, artifact: Artifact) -> None:
        problem = self._read(partial(verify, artifact))
        if problem is not None:
            self._tell(f"{artifact.pk} {artifact.run_id} {artifact.file}", problem)

    def _verify_others(self) -> int:
        others = list(other_references())
        for reference in others:
            problem = self._read(partial(problem_of, reference))
            if problem is not None and reference in other_references():  # not deleted meanwhile
                self._tell(reference.key, problem)
        return len(others)

    def _read(self, check: Callable[[], Text | None]) -> Text | None:
        """The problem that ``check`` finds, or that the file cannot be read: others may be. Raises
        FAILURES if nothing can."""
        try:
            problem = check()
        except FAILURES as error:
            self.unreadable += 1
            if self.unreadable >= MAX_UNREADABLE:
                raise
            return Message("it cannot be read: %(why)s", why=error)
        self.unreadable = 0
        return problem

    def _tell_orphans(self, folder: str) -> None:
        for orphan in orphans(folder):
            text = _("nothing refers to its %(size)d bytes")
            self._tell(orphan.key, text % {"size": orphan.size_bytes})

    def _tell(self, name: str, problem: Text) -> None:
        self.found += 1
        with tqdm.external_write_mode():
            self.stdout.write(storable(f"{name}: {problem}"))


def _scope(project: str, run: str) -> tuple[str, str]:
    """The ids of the project and the run. Raises CommandError."""
    if run:
        found = Run.objects.filter(pk=storable(run)).values_list("project_id", flat=True).first()
        if found is None or project not in {"", found}:
            raise CommandError(_("There is no run %(id)s.") % {"id": storable(run)})
        return found, run
    if project and not Project.objects.filter(pk=storable(project)).exists():
        raise CommandError(_("There is no project %(id)s.") % {"id": storable(project)})
    return project, ""


def _chosen(project: str, run: str, days: float | None) -> ArtifactQuerySet:
    """Those first that were never verified, then by when."""
    artifacts = Artifact.objects.order_by(F("verified_at").asc(nulls_first=True), "id")
    if run:
        artifacts = artifacts.filter(run=run)
    elif project:
        artifacts = artifacts.filter(run__project=project)
    if days is not None:
        since = timezone.now() - timedelta(days=days)
        artifacts = artifacts.filter(Q(verified_at=None) | Q(verified_at__lt=since))
    return artifacts
