"""The lifecycle of unmanaged runs: their scripts run elsewhere and report their own status."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from core.messages import Message
from core.text import MAX_NAME_LENGTH, truncate
from projects.models import Project
from runs.models import MAX_ATTEMPT, EventKind, FailureKind, Run, RunQuerySet
from runs.signals import attempt_ending
from runs.status import TERMINAL, RunStatus

logger = logging.getLogger(__name__)


def create_unmanaged_run(
    project: Project,
    *,
    by: User | None,
    name: str = "",
    tags: dict[str, str] | None = None,
    started_at: datetime | None = None,
) -> Run:
    """Create a 运行中 run of a script that has already started. Raises ProjectArchived.

    The project's default hyperparameters do not apply: the script reports its own.
    """
    with transaction.atomic():
        number = project.allocate_run_number()
        run = Run(
            project=project,
            project_version=project.version,
            name=truncate(name.strip(), MAX_NAME_LENGTH) or f"run-{number:03d}",
            model=project.base_model,
            tags=tags or {},
            status=RunStatus.RUNNING,
            started_at=started_at or Now(),
            reported_at=Now(),
            created_by=by,
        )
        run.save(force_insert=True)
        run.note(EventKind.CREATED, to_status=RunStatus.RUNNING, by=by)
    run.refresh_from_db()
    return run


def create_keeper(project: Project, *, by: User | None, name: str) -> Run:
    """Create a hidden run for the files of what belongs to no run, such as a model that was logged
    outside any. It is listed nowhere and has no number."""
    return Run.objects.create(
        project=project,
        project_version=project.version,
        name=truncate(name.strip(), MAX_NAME_LENGTH),
        status=RunStatus.COMPLETED,
        started_at=Now(),
        finished_at=Now(),
        is_hidden=True,
        created_by=by,
    )


def create_ended_run(
    project: Project,
    *,
    run_id: str,
    name: str,
    status: RunStatus,
    started_at: datetime,
    finished_at: datetime,
    source: str,
    exit_code: int | None = None,
) -> bool:
    """Create a run that has ended elsewhere, and return True; do nothing if there is one with this
    ID already. ``source``: where it is brought in from. Call inside a transaction."""
    run = Run(
        id=run_id,
        project=project,
        project_version=project.version,
        name=truncate(name.strip(), MAX_NAME_LENGTH) or run_id,
        model=project.base_model,
        status=status,
        exit_code=exit_code,
        started_at=started_at,
        finished_at=finished_at,
        reported_at=finished_at,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:
        return False
    reason = Message("Imported from %(source)s.", source=source)
    run.note(EventKind.CREATED, to_status=status, reason=reason)
    return True


def report_status(
    run: Run, status: RunStatus, *, by: User | None, finished_at: datetime | None = None
) -> None:
    """Set the status that the script reports. Call with the row locked.

    Ignored for a run that has a recipe: its worker observes how it ends. A reported end does not
    override a user's cancel.
    """
    was_cancelled = run.status == RunStatus.CANCELLED and run.stop_requested_at is not None
    if not run.is_unmanaged or status == run.status:
        return
    if status in TERMINAL:
        if not was_cancelled:
            _end(run, status, by=by, finished_at=finished_at)
    elif run.status in TERMINAL:
        _reopen(run, status, by=by)
    else:
        run.transition(status, by=by, reported_at=Now())


def _reopen(run: Run, status: RunStatus, *, by: User | None) -> None:
    """Continue a run that has ended, as another attempt."""
    attempt_ending.send(sender=Run, run=run)
    run.attempt = min(run.attempt + 1, MAX_ATTEMPT)
    run.transition(
        status,
        kind=EventKind.REOPENED,
        by=by,
        attempt=run.attempt,
        finished_at=None,
        exit_code=None,
        stop_kind="",
        stop_requested_at=None,
        reported_at=Now(),
        lost_at=None,
    )


def _end(run: Run, status: RunStatus, *, by: User | None, finished_at: datetime | None) -> None:
    progress = 1.0 if status == RunStatus.COMPLETED else run.progress
    run.transition(
        status,
        by=by,
        progress=progress,
        finished_at=finished_at or timezone.now(),
        lost_at=None,
    )


def update_lost_runs() -> None:
    """Mark runs as lost that have been silent for too long; reopen those that reported again."""
    silent = Run.objects.silent_for(settings.UNMANAGED_LOST_SECONDS)
    for pk in silent.values_list("pk", flat=True):
        with transaction.atomic():
            # Query again with the row locked: the run may have reported, or another worker may
            # have marked it.
            run = _lock_if_in(silent, pk)
            if run is not None:
                _mark_as_lost(run)
    returned = Run.objects.reported_again()
    for pk in returned.values_list("pk", flat=True):
        with transaction.atomic():
            run = _lock_if_in(returned, pk)
            if run is not None:
                _reopen_lost(run)


def _lock_if_in(runs: RunQuerySet, pk: str) -> Run | None:
    return runs.filter(pk=pk).select_for_update(skip_locked=True, no_key=True, of=("self",)).first()


def _mark_as_lost(run: Run) -> None:
    logger.warning("marking run %s as lost: silent since %s", run.pk, run.reported_at)
    silence = timedelta(seconds=settings.UNMANAGED_LOST_SECONDS)
    run.transition(
        RunStatus.FAILED,
        kind=EventKind.LOST,
        reason=Message(
            "Lost: it has not reported for %(minutes)d minutes.",
            minutes=int(silence.total_seconds()) // 60,
        ),
        failure_kind=FailureKind.STALLED,
        lost_at=Now(),
    )


def _reopen_lost(run: Run) -> None:
    """The same attempt continues: it was not lost after all."""
    logger.info("run %s has reported again", run.pk)
    run.transition(RunStatus.RUNNING, kind=EventKind.REOPENED, finished_at=None, lost_at=None)
