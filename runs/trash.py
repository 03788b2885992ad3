"""Deleting a project with its runs, as MLflow clients delete an experiment, and bringing both back.

The project is archived, which keeps its history, and its runs are in the trash until it is
reopened, by whatever way.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from projects.models import Project, ProjectStatus
from runs.models import EventKind, Run, RunEvent, RunQuerySet
from runs.signals import runs_deleting
from runs.status import InvalidTransition

EVENTS_PER_INSERT = 1000


def delete_with_runs(project: Project, *, by: User | None) -> None:
    """Archive ``project`` and move its runs to the trash.

    Raises InvalidTransition, with nothing changed, if a worker executes or will execute one, and
    whatever receivers of runs_deleting raise.
    """
    with transaction.atomic():
        runs_deleting.send(Project, runs=Run.objects.kept().filter(project=project))
        project.set_status(ProjectStatus.ARCHIVED)  # its row is locked: no run is added
        kept = Run.objects.kept().filter(project=project)
        _lock(kept)
        if kept.active().exclude(recipe=None).exists():
            raise InvalidTransition(
                _("The project has runs that have not ended yet: cancel them before deleting it.")
            )
        _note(kept, EventKind.DELETED, by=by)
        kept.update(deleted_at=Now(), deleted_with_project=True, is_indexed=False, updated_at=Now())


def restore_runs(*, project: Project, **_signal: Any) -> None:
    """Receiver of project_reopened."""
    deleted = Run.objects.filter(project=project, deleted_with_project=True)
    _lock(deleted)
    _note(deleted, EventKind.RESTORED, by=None)
    deleted.update(deleted_at=None, deleted_with_project=False, is_indexed=False, updated_at=Now())


def _lock(runs: RunQuerySet) -> None:
    list(runs.select_for_update(no_key=True).order_by("id").values_list("pk"))


def _note(runs: RunQuerySet, kind: EventKind, *, by: User | None) -> None:
    RunEvent.objects.bulk_create(
        (
            RunEvent(run_id=pk, kind=kind, attempt=attempt, actor=by)
            for pk, attempt in runs.values_list("pk", "attempt")
        ),
        batch_size=EVENTS_PER_INSERT,
    )
