"""The attempts of a run: how one ends, and what comes next for the run."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction

from accounts.tokens import revoke_tokens
from core.messages import Message, Text, as_sentence
from runs.models import MAX_ATTEMPT, EventKind, FailureKind, Run, StopKind, Worker
from runs.signals import attempt_ending
from runs.status import RunStatus

# How often in a row a run may be ended by its cluster without a newer checkpoint; without
# limit if the kind is another.
MAX_INTERRUPTIONS: Final[dict[str, int]] = {FailureKind.TIME_LIMIT: 2, FailureKind.NODE_FAILED: 5}


def recover(
    run: Run,
    reason: Text,
    *,
    checkpoint_step: int | None = None,
    failure_kind: str = "",
    exit_code: int | None = None,
) -> None:
    """Continue after the work died: attempt + 1, or failed when no restarts are left.

    ``checkpoint_step``: of the latest checkpoint, from which the executor starts the next
    attempt. If the run has never had one so late, all its restarts are available again: only
    deaths without progress in between use them up. ``failure_kind`` (a FailureKind) and
    ``exit_code`` are those of the attempt that died. Call with the row locked.
    """
    count = run.restart_count
    reached = max(run.restart_step, run.start_step)
    if checkpoint_step is not None and checkpoint_step > reached:
        count, reached = 0, checkpoint_step
    if count >= run.max_restarts:
        run.transition(
            RunStatus.FAILED,
            reason=Message(
                "%(reason)s No restarts left (%(count)d of %(count)d used).",
                reason=as_sentence(reason),
                count=run.max_restarts,
            ),
            failure_kind=failure_kind,
            exit_code=exit_code,
        )
        return
    _next_attempt(run, None, reason, restart_count=count + 1, restart_step=reached)


def continue_after(
    run: Run,
    reason: Text,
    *,
    failure_kind: str,
    checkpoint_step: int | None = None,
    exit_code: int | None = None,
) -> None:
    """Begin the next attempt after its cluster ended the work: this uses up no restart, but too
    many in a row without a newer checkpoint end the run. Call with the row locked."""
    before = run.executor_state.get("interruptions", {})
    reached = max(before.get("step", 0), run.start_step)
    advanced = checkpoint_step is not None and checkpoint_step > reached
    count = 0 if advanced else before.get("count", 0) + 1
    limit = MAX_INTERRUPTIONS.get(failure_kind)
    if limit is not None and count >= limit:
        run.transition(
            RunStatus.FAILED,
            reason=Message(
                "%(reason)s It has ended so %(count)d times without a newer checkpoint.",
                reason=as_sentence(reason),
                count=count,
            ),
            failure_kind=failure_kind,
            exit_code=exit_code,
        )
        return
    step = checkpoint_step if advanced else reached
    note = {"step": step, "count": count}
    state = {**run.executor_state, "interruptions": note}
    _next_attempt(run, None, reason, executor_state=state)


def continue_elsewhere(run: Run, reason: Text) -> None:
    """Begin the next attempt because the worker died: this is not the training's fault and
    counts as no restart. Call with the row locked."""
    _next_attempt(run, None, reason)


def take_over(run: Run, worker: Worker, reason: Text) -> None:
    """Assign the run to ``worker`` even without a free slot: its previous worker died while the
    run was stopping, and only the rest of the work has to be ended. Call with the row locked.
    """
    _next_attempt(run, worker, reason)


def hand_over(run: Run, worker: Worker | None, reason: Text) -> None:
    """Let another worker, or ``worker``, go on with work that outlived its own: the attempt
    goes on. Call with the row locked."""
    run.note(EventKind.RELEASED, reason=reason, worker=run.worker)
    run.change(worker=worker)


def release(run: Run, worker: Worker, *, next_attempt: bool) -> None:
    """Release the run for any worker to claim; this does not count as a restart.

    ``next_attempt``: the current attempt has ended, so the next claim begins another one.
    Raises LeaseLost.
    """
    with transaction.atomic():
        current = Run.objects.lock_held_by(worker, run.pk)
        current.note(EventKind.RELEASED, worker=worker)
        current.change(worker=None, devices=[])
        if next_attempt:
            _revoke_tokens(current)
            attempt_ending.send(sender=Run, run=current)
            current.change(
                attempt=current.attempt + 1,
                attempt_started_at=None,
                attempt_start_step=None,
                status_reason="",
            )


def interrupt(run: Run, kind: StopKind, *, reason: Text, by: User | None = None) -> None:
    """Back to the queue with its place after a PREEMPT, 已暂停 after a PAUSE: its next attempt
    starts from the latest checkpoint. This counts as no restart. Call with the row locked.

    Raises InvalidTransition.
    """
    preempted = kind is StopKind.PREEMPT
    waited = run.is_held and run.status == RunStatus.QUEUED  # in its cluster
    was_started = run.attempt_started_at is not None
    if was_started:
        attempt_ending.send(sender=Run, run=run)
    _revoke_tokens(run)
    fields: dict[str, Any] = {
        "attempt": min(run.attempt + (was_started or waited), MAX_ATTEMPT),
        "attempt_started_at": None,
        "attempt_start_step": None,
        "stop_kind": "",
        "stop_requested_at": None,
        "estimated_start": None,
    }
    kind_of_event = EventKind.PREEMPTED if preempted else EventKind.PAUSED
    if preempted and waited:
        run.note(kind_of_event, reason=reason, by=by, worker=run.worker)
        run.change(status_reason=reason, **fields)
    else:
        to = RunStatus.QUEUED if preempted else RunStatus.PAUSED
        run.transition(to, kind=kind_of_event, reason=reason, by=by, **fields)
    run.change(worker=None, devices=[])


def _next_attempt(run: Run, worker: Worker | None, reason: Text, **fields: Any) -> None:
    previous_worker = run.worker
    if run.attempt >= MAX_ATTEMPT:
        run.transition(RunStatus.FAILED, reason=reason, failure_kind=FailureKind.WORKER_LOST)
        return
    if run.stop_kind in {StopKind.STALLED, StopKind.PREEMPT}:  # its GPUs are free
        fields.update(stop_kind="", stop_requested_at=None)
    _revoke_tokens(run)
    attempt_ending.send(sender=Run, run=run)
    run.change(
        attempt=run.attempt + 1,
        attempt_started_at=None,
        attempt_start_step=None,
        worker=worker,
        devices=[],
        status_reason="",
        **fields,
    )
    run.note(EventKind.RECOVERED, reason=reason, worker=previous_worker)


def _revoke_tokens(run: Run) -> None:
    """What the attempt's script may still send counts no more. Call with the row locked."""
    if run.script_tokens:
        revoke_tokens(run.script_tokens)
        run.change(script_tokens=[])
