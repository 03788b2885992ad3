"""What workers do for policies of checkpoints: apply each, and purge the trash.

Workers take turns: who begins a pass over a policy writes down when, and another begins the next
one a minute later. A pass is bounded; what is left is removed in the next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from artifacts import trash
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.models import Artifact, InUse
from artifacts.queries import lock_promotions
from core.exceptions import DomainError
from core.messages import Message, Text, words_of
from registry.checkpoint_policy import CheckpointPolicy
from registry.retention_preview import Judged, judged_runs
from runs.checkpoint import CheckpointGone

logger = logging.getLogger(__name__)

PASS_SECONDS: Final = 10.0  # between two looks of a worker
APPLY_SECONDS: Final = 60.0  # between two applications of a policy, by whatever worker
POLICIES_PER_PASS: Final = 5
REMOVED_PER_PASS: Final = 100  # checkpoints, of a policy


class RetentionDriver:
    """What a worker does for all policies."""

    def __init__(self) -> None:
        self._next = 0.0  # monotonic seconds

    def work(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PASS_SECONDS
        for pk in _due():
            apply_in_turn(pk)
        trash.purge()


def _is_due() -> Q:
    before = Now() - timedelta(seconds=APPLY_SECONDS)
    return Q(applied_at=None) | Q(applied_at__lt=before) | Q(applied_at__lt=F("changed_at"))


def _due() -> list[str]:
    in_turn = CheckpointPolicy.objects.filter(_is_due()).order_by(
        F("applied_at").asc(nulls_first=True), "pk"
    )
    return list(in_turn.values_list("pk", flat=True)[:POLICIES_PER_PASS])


def apply_in_turn(pk: str) -> int:
    """Apply the policy of the project ``pk``, unless another worker has just begun to; return how
    many checkpoints were removed. An error is told on the policy."""
    policy = _take_turn(pk)
    if policy is None:
        return 0
    problem: Text = ""
    try:
        removed = len(apply(policy, limit=REMOVED_PER_PASS))
    except DomainError as error:
        removed, problem = 0, words_of(error)
        logger.warning("checkpoint policy of %s: %s", pk, problem)
    CheckpointPolicy.objects.filter(pk=pk).exclude(problem=problem).update(problem=problem)
    return removed


def _take_turn(pk: str) -> CheckpointPolicy | None:
    with transaction.atomic():
        rows = CheckpointPolicy.objects.select_related("project")
        locked = rows.select_for_update(skip_locked=True, no_key=True, of=("self",))
        policy = locked.filter(_is_due(), pk=pk).first()
        if policy is not None:
            CheckpointPolicy.objects.filter(pk=pk).update(applied_at=Now())
    return policy


def apply(policy: CheckpointPolicy, *, limit: int | None = None) -> list[CheckpointDeletion]:
    """Move what the policy does not keep to the trash, at most ``limit`` checkpoints, each in a
    transaction of its own: runs go on reporting. What has come to be needed meanwhile stays, and
    nothing more goes once the policy has been changed."""
    deletions: list[CheckpointDeletion] = []
    for item in _not_kept(policy):
        if limit is not None and len(deletions) >= limit:
            break
        with transaction.atomic():
            lock_promotions()  # before any row
            if not _is_in_force(policy):
                break
            deletion = _remove(item)
        if deletion is not None:
            deletions.append(deletion)
    return deletions


def _not_kept(policy: CheckpointPolicy) -> Iterator[Judged]:
    """What the policy does not keep. A run is judged again when its turn comes: the removal of
    those before it takes a while, in which it is measured, and saves."""
    for judged in judged_runs(policy.project, policy.retention):
        runs = dict.fromkeys(item.checkpoint.run_id for item in judged if not item.is_kept)
        for run_id in runs:
            for again in judged_runs(policy.project, policy.retention, run_ids=[run_id]):
                yield from (item for item in again if not item.is_kept)


def _is_in_force(policy: CheckpointPolicy) -> bool:
    """Until the transaction ends, as its row is locked."""
    rows = CheckpointPolicy.objects.select_for_update(no_key=True)
    return rows.filter(pk=policy.pk, changed_at=policy.changed_at).exists()


def _remove(item: Judged) -> CheckpointDeletion | None:
    """None if it is needed after all, or gone."""
    checkpoint = Artifact.objects.select_related("run").filter(pk=item.checkpoint.pk).first()
    if checkpoint is None:
        return None
    reason = Message("The policy of the project does not keep it.")
    try:
        return trash.trash(checkpoint, reason=reason, by=None, by_policy=True)
    except (InUse, CheckpointGone):
        return None
