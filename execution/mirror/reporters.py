"""Who may report of an attempt: the launchers of its nodes, while it is the run's current one."""

from __future__ import annotations

import time

from django.db import transaction
from django.utils.translation import gettext as _

from core.exceptions import DomainError, InvalidInput
from execution.models import MirroredAttempt, MirroredNode
from runs.models import Run


class AttemptOver(DomainError):
    """Nothing of the attempt is taken any more: its launchers end themselves."""

    code = "attempt_over"
    status_code = 410


def attempt_of(run: Run, number: int) -> MirroredAttempt:
    """Raises AttemptOver if it is not the run's current one."""
    attempt = MirroredAttempt.objects.filter(run=run, number=number).first()
    is_current = run.attempt == number and not run.is_terminal and run.deleted_at is None
    if attempt is None or not is_current:
        raise AttemptOver(_("This attempt is over: nothing of it is taken any more."))
    return attempt


def node_count(attempt: MirroredAttempt) -> int:
    return int(attempt.launch.get("nodes", 1))


def node_of(attempt: MirroredAttempt, rank: int, launcher: str, now: float) -> MirroredNode:
    """Raises AttemptOver if another launcher is this node's, InvalidInput."""
    nodes = node_count(attempt)
    if rank >= nodes:
        raise InvalidInput(
            _("The attempt has %(nodes)d nodes: their ranks are lower.") % {"nodes": nodes}
        )
    node = MirroredNode.objects.filter(attempt=attempt, rank=rank).first()
    if node is None:
        with transaction.atomic():
            node, _created = MirroredNode.objects.get_or_create(
                attempt=attempt,
                rank=rank,
                defaults={"launcher": launcher, "clock_seconds": now - time.time()},
            )
    if node.launcher != launcher:
        raise AttemptOver(_("Another launcher works on this node of the attempt."))
    return node
