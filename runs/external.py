"""The life of runs of scripts started elsewhere: nobody but the script says how it goes."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from projects.models import Project
from runs.models import EventKind, Run, RunQuerySet
from runs.status import TERMINAL, RunStatus

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 200
MAX_ATTEMPT = 32_767  # what the column holds


def create_external_run(
    project: Project,
    *,
    by: User | None,
    name: str = "",
    tags: dict[str, str] | None = None,
    started_at: datetime | None = None,
) -> Run:
    """A run, 运行中, of a script that has begun elsewhere. Raises ProjectArchived.

    The project's default hyperparameters are not taken over: the script reports those it has.
    """
    with transaction.atomic():
        number = project.admit_run()
        run = Run(
            project=project,
            project_version=project.version,
            name=fitting(name) or f"run-{number:03d}",
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


def fitting(name: str) -> str:
    """``name``, cut where it is too long: no training should fail for that."""
    name = name.strip()
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def report_status(
    run: Run, status: RunStatus, *, by: User | None, finished_at: datetime | None = None
) -> None:
    """The script says how it is. Call with the row locked.

    Of a run that a worker carries out it is a hint and nothing more: the worker sees how it ends.
    Neither does the script's end undo that somebody cancelled the run before.
    """
    was_cancelled = run.status == RunStatus.CANCELLED and run.stop_requested_at is not None
    if not run.is_external or status in (run.status, RunStatus.QUEUED):
        return
    if status == RunStatus.RUNNING:
        _reopen(run, by=by)
    elif not was_cancelled:
        _end(run, status, by=by, finished_at=finished_at)


def _reopen(run: Run, *, by: User | None) -> None:
    """The script goes on with a run that has ended, as another attempt."""
    assert run.status in TERMINAL
    run.attempt = min(run.attempt + 1, MAX_ATTEMPT)
    run.transition(
        RunStatus.RUNNING,
        kind=EventKind.REOPENED,
        by=by,
        attempt=run.attempt,
        finished_at=None,
        exit_code=None,
        stop_kind="",
        stop_requested_at=None,
        reported_at=timezone.now(),
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


def watch() -> None:
    """Give up for lost who has been silent for too long, and take up who is heard of again."""
    lost = Run.objects.silent_for(settings.EXTERNAL_LOST_SECONDS)
    for pk in lost.values_list("pk", flat=True):
        with transaction.atomic():
            # Asked again with the row locked: it may have spoken, or another worker been quicker.
            run = _still(lost, pk)
            if run is not None:
                _give_up(run)
    back = Run.objects.heard_of_again()
    for pk in back.values_list("pk", flat=True):
        with transaction.atomic():
            run = _still(back, pk)
            if run is not None:
                _take_up(run)


def _still(runs: RunQuerySet, pk: str) -> Run | None:
    return runs.filter(pk=pk).select_for_update(skip_locked=True, no_key=True, of=("self",)).first()


def _give_up(run: Run) -> None:
    logger.warning("run %s is lost: silent since %s", run.pk, run.reported_at)
    silence = timedelta(seconds=settings.EXTERNAL_LOST_SECONDS)
    run.transition(
        RunStatus.FAILED,
        kind=EventKind.LOST,
        reason=_("Lost: nothing was heard of it for %(minutes)d minutes.")
        % {"minutes": silence.total_seconds() // 60},
        lost_at=Now(),
    )


def _take_up(run: Run) -> None:
    """It was not lost after all: the same attempt goes on."""
    logger.info("run %s is heard of again", run.pk)
    run.transition(RunStatus.RUNNING, kind=EventKind.REOPENED, finished_at=None, lost_at=None)
