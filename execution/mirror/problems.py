"""Tells the readers of a run what its nodes cannot send."""

from __future__ import annotations

from django.db import transaction

from core.messages import Message
from execution.models import MirroredAttempt, MirroredNode
from runs import troubles
from runs.models import EventKind, Run, Worker
from runs.status import RunStatus


def tell_problems(run: Run, worker: Worker, mirrored: MirroredAttempt) -> None:
    """Begin, change or end the run's trouble by what the nodes have said since. Raises
    LeaseLost."""
    nodes = MirroredNode.objects.filter(attempt=mirrored)
    if not nodes.filter(is_told=False).exists():
        return
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        if locked.status != RunStatus.RUNNING:
            return  # its worker has not noticed that it has begun: the next time
        found = list(nodes.select_for_update(no_key=True).order_by("pk"))
        for node in found:
            if node.problem:
                reason = Message(
                    "Node %(node)d cannot send its files: %(why)s", node=node.rank, why=node.problem
                )
                troubles.begin(locked, EventKind.NOT_SENT, reason, worker=worker)
                break
        else:
            troubles.end(locked, EventKind.NOT_SENT, worker=worker)
        nodes.filter(pk__in=[node.pk for node in found]).update(is_told=True)
