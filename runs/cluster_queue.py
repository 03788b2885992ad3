"""Runs in the queue of their cluster."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from core.messages import Text
from runs.models import EventKind, Run, Worker
from runs.status import RunStatus


def wait_in_cluster(run: Run, worker: Worker, *, reason: Text, starts_at: datetime | None) -> None:
    """Tell that ``worker``'s run waits in its cluster, why, and until when as far as is known.
    Writes only changes. Raises LeaseLost."""
    with transaction.atomic():
        current = Run.objects.lock_held_by(worker, run.pk)
        if current.status != RunStatus.QUEUED:
            current.transition(RunStatus.QUEUED, kind=EventKind.REQUEUED, reason=reason)
        current.change(status_reason=reason, estimated_start=starts_at)
    run.refresh_from_db()


def start_in_cluster(run: Run, worker: Worker) -> None:
    """Tell that its cluster has started ``worker``'s run. Raises LeaseLost."""
    with transaction.atomic():
        current = Run.objects.lock_held_by(worker, run.pk)
        if current.status == RunStatus.QUEUED:
            current.transition(
                RunStatus.RUNNING,
                kind=EventKind.STARTED,
                started_at=Coalesce("started_at", Now()),
                estimated_start=None,
            )
        elif current.held_since is None:
            current.note(EventKind.STARTED, worker=worker)
    run.refresh_from_db()
