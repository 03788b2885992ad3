"""Runs that stop and will go on: paused by hand, or preempted by a more urgent one."""

from __future__ import annotations

import time
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.messages import Message, Text
from runs import attempts
from runs.checkpoint import Checkpoint
from runs.models import EventKind, Run, StopKind
from runs.status import InvalidTransition, RunStatus

POLL_SECONDS: Final = 0.1
INTERRUPTIONS: Final = frozenset({StopKind.PREEMPT, StopKind.PAUSE})


def pause_run(run: Run, *, by: User | None, wait_seconds: float | None = None) -> Run:
    """Ask the run to stop with a checkpoint until it is continued, and wait at most
    ``wait_seconds`` until it has.

    Returns the run: 已暂停, or still running if its worker has not stopped it by then. Idempotent.
    Raises InvalidTransition if the run has ended, is being cancelled, or is unmanaged.
    """
    with transaction.atomic():
        locked = Run.objects.lock(run.pk)
        _check_pausable(locked)
        if locked.status == RunStatus.PAUSED:
            return locked
        if not locked.is_held:
            attempts.interrupt(locked, StopKind.PAUSE, reason=Message("Paused."), by=by)
            return locked
        locked.request_stop(StopKind.PAUSE, by=by)
    wait = settings.CANCEL_WAIT_SECONDS if wait_seconds is None else wait_seconds
    deadline = time.monotonic() + wait
    while locked.stop_kind == StopKind.PAUSE and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        locked.refresh_from_db()
    return locked


def _check_pausable(run: Run) -> None:
    """Raises InvalidTransition."""
    if run.is_unmanaged:
        raise InvalidTransition(_("The run is unmanaged: no worker can pause it."))
    if run.is_terminal:
        raise InvalidTransition(
            _("The run has ended (%(status)s): it cannot be paused.")
            % {"status": run.get_status_display()}
        )
    if run.stop_kind == StopKind.CANCEL:
        raise InvalidTransition(_("The run is being cancelled: it cannot be paused."))


def continue_run(run: Run, *, by: User | None) -> Run:
    """Queue a paused run again; it goes on from its latest checkpoint.

    Raises InvalidTransition if it is not paused.
    """
    with transaction.atomic():
        locked = Run.objects.lock(run.pk)
        if locked.status != RunStatus.PAUSED:
            raise InvalidTransition(
                _("The run is not paused (%(status)s): there is nothing to continue.")
                % {"status": locked.get_status_display()}
            )
        locked.transition(RunStatus.QUEUED, kind=EventKind.CONTINUED, by=by, queued_at=Now())
    return locked


def preemption(run_id: str, priority: int) -> Message:
    """Why a run is to stop for another one that waits."""
    return Message(
        "Preempted: %(run)s of priority %(priority)d waits for its GPUs.",
        run=run_id,
        priority=priority,
    )


def preemption_by_another_project(priority: int) -> Message:
    """The same for a run that readers of the preempted one may not see."""
    return Message(
        "Preempted: a run of another project, of priority %(priority)d, waits for its GPUs.",
        priority=priority,
    )


_PREEMPTIONS: Final = {preemption("", 0).template, preemption_by_another_project(0).template}


def is_preemption(reason: Text) -> bool:
    return isinstance(reason, Message) and reason.template in _PREEMPTIONS


def pruning(sweep: str, step: int) -> Message:
    """Why a trial of a sweep is cancelled: others were better at that step."""
    return Message("Pruned by the sweep %(sweep)s at step %(step)d.", sweep=sweep, step=step)


def is_pruning(reason: Text) -> bool:
    return isinstance(reason, Message) and reason.template == pruning("", 0).template


def finish_interruption(run: Run, latest: Checkpoint | None) -> None:
    """Pause or queue a run that was to stop for that, and has. ``latest``: its latest sound
    checkpoint. Call with the row locked."""
    kind = StopKind(run.stop_kind)
    attempts.interrupt(run, kind, reason=_reason(kind, latest))


def _reason(kind: StopKind, latest: Checkpoint | None) -> Text:
    if kind is StopKind.PREEMPT:
        if latest is None:
            return Message("Preempted without a checkpoint: it will start again.")
        return Message(
            "Preempted: it will go on from the checkpoint at step %(step)d.", step=latest.step
        )
    if latest is None:
        return Message("Paused without a checkpoint: it will start again.")
    return Message("Paused: it will go on from the checkpoint at step %(step)d.", step=latest.step)
