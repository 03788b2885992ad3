"""What workers do for evaluation rules at each pass: count new checkpoints, evaluate every nth.

A pass over a rule holds the lock of its row, and counts a checkpoint, with the run that evaluates
it, in one transaction: whatever dies, none is evaluated twice by a rule.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from artifacts.evaluation_runs import evaluate
from artifacts.models import Artifact, ArtifactQuerySet
from core.exceptions import DomainError
from core.messages import words_of
from registry.evaluation_rules import EvaluationRule, SeenCheckpoint
from runs.models import RecipeKind

logger = logging.getLogger(__name__)

PASS_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 30.0  # after an error of a rule
CHECKPOINTS_PER_PASS: Final = 50
# A checkpoint that is uploaded file by file is whole, and counted, long after its row was made.
LOOKS_BACK: Final = timedelta(days=1)


class RuleDriver:
    """What a worker does for all rules."""

    def __init__(self) -> None:
        self._next = 0.0  # monotonic seconds
        self._retry_at: dict[str, float] = {}  # rule -> monotonic seconds

    def work(self) -> None:
        """An error of a rule is told on it, and pauses only it."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PASS_SECONDS
        for pk in EvaluationRule.objects.values_list("pk", flat=True).order_by("pk"):
            if self._retry_at.get(pk, now) > now:
                continue
            try:
                follow(pk)
                self._retry_at.pop(pk, None)
            except DomainError as error:
                self._retry_at[pk] = now + RETRY_SECONDS
                problem = words_of(error)
                logger.warning("evaluation rule %s: %s", pk, problem)
                EvaluationRule.objects.filter(pk=pk).update(problem=problem)


def follow(pk: str) -> int:
    """One pass over a rule; return how many checkpoints were counted. What cannot be evaluated
    keeps the later checkpoints of its run waiting, not those of others. Raises DomainError, for
    example if the recipe is disabled."""
    counted = 0
    started = timezone.now()
    refused: dict[str, DomainError] = {}  # run -> why
    while counted + len(refused) < CHECKPOINTS_PER_PASS:
        with transaction.atomic():
            locked = EvaluationRule.objects.select_for_update(
                skip_locked=True, no_key=True, of=("self",)
            )
            rule = locked.select_related("recipe", "created_by", "project").filter(pk=pk).first()
            if rule is None:  # deleted, or another worker follows it
                return counted
            checkpoint = _unseen(rule).exclude(run__in=list(refused)).first()
            if checkpoint is None:
                if not refused:
                    _note(rule, started)
                break
            try:
                with transaction.atomic():
                    _count(rule, checkpoint)
                    counted += 1
            except DomainError as error:
                if not rule.recipe.enabled:
                    raise
                refused[checkpoint.run_id] = error
    if refused:
        raise next(iter(refused.values()))
    return counted


def _unseen(rule: EvaluationRule) -> ArtifactQuerySet:
    """The checkpoints that the rule is about and has not counted, the oldest first."""
    seen = SeenCheckpoint.objects.filter(rule=rule, checkpoint=OuterRef("pk"))
    since = max(rule.created_at, rule.seen_until - LOOKS_BACK)
    found = Artifact.objects.checkpoints().filter(
        ~Exists(seen),
        created_at__gte=since,
        run__project=rule.project_id,
        run__kind=RecipeKind.TRAINING,
        run__deleted_at=None,
        run__is_hidden=False,
    )
    found = found.exclude(metadata__has_key="damage")
    if rule.of_recipe_id:
        found = found.filter(run__recipe=rule.of_recipe_id)
    if rule.run_name:
        found = found.filter(run__name__icontains=rule.run_name)
    return found.select_related("run__project", "run__recipe").order_by("created_at", "step", "id")


def _count(rule: EvaluationRule, checkpoint: Artifact) -> None:
    """Count the checkpoint, and evaluate it if it is an nth. Call with the rule's row locked."""
    earlier = SeenCheckpoint.objects.filter(rule=rule, run=checkpoint.run_id)
    number = (earlier.aggregate(last=Max("number"))["last"] or 0) + 1
    seen = SeenCheckpoint(rule=rule, run=checkpoint.run, checkpoint=checkpoint, number=number)
    if number % rule.every == 0:
        seen.evaluation = evaluate(
            checkpoint,
            recipe=rule.recipe,
            by=rule.created_by,
            hyperparameters=rule.hyperparameters,
            dataset=rule.dataset,
        )
        logger.info("rule %s: %s evaluates %s", rule.pk, seen.evaluation.pk, checkpoint.pk)
    seen.save(force_insert=True)


def _note(rule: EvaluationRule, started: object) -> None:
    """There was nothing left to count at ``started``."""
    EvaluationRule.objects.filter(pk=rule.pk).update(seen_until=started, problem="")
