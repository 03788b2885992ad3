"""Runs that evaluate a checkpoint: of a recipe of the kind evaluation, started from its bytes.

Such a run finds the checkpoint as a resumed run does, and what it tells belongs to the checkpoint:
the numbers of its files (evaluations.py) and, once it has completed, its metrics.
"""

from __future__ import annotations

import math
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.utils.translation import gettext as _t

from artifacts.checkpoints import checked_source
from artifacts.evaluations import evaluated_checkpoint
from artifacts.models import Artifact, EvaluationResult
from core.exceptions import InvalidInput
from core.text import MAX_NAME_LENGTH, truncate
from runs.actions import create_run
from runs.models import Recipe, RecipeKind, Run
from runs.system_metrics import PREFIX

MAX_METRICS: Final = 1000  # of an evaluation run


def evaluate(
    checkpoint: Artifact,
    *,
    recipe: Recipe,
    by: User | None,
    hyperparameters: dict[str, Any] | None = None,
    dataset: str = "",
) -> Run:
    """Queue a run of ``recipe`` that evaluates ``checkpoint``, with its run's model and code, and
    its dataset unless another is given.

    Raises InvalidInput, InvalidSource, ProjectArchived, CodeForbidden, CheckpointGone.
    """
    if recipe.kind != RecipeKind.EVALUATION:
        raise InvalidInput(
            _t("The recipe %(name)s is not of the kind evaluation.") % {"name": recipe.pk},
            attr="recipe",
        )
    if not recipe.enabled:
        raise InvalidInput(
            _t("The recipe %(name)s is disabled.") % {"name": recipe.pk}, attr="recipe"
        )
    source = checkpoint.run
    start = checked_source(source, checkpoint)
    return create_run(
        source.project,
        by=by,
        name=truncate(f"eval-{start.step}-{source.name}", MAX_NAME_LENGTH),
        model=source.model,
        dataset=dataset or source.dataset,
        hyperparameters=hyperparameters,
        recipe=recipe,
        code_of=source,
        evaluates=start,
    )


def take_metrics(*, run: Run, **_signal: Any) -> None:
    """Receiver of run_completed: the last values of its metrics are results of the checkpoint."""
    checkpoint = evaluated_checkpoint(run)
    if checkpoint is None:
        return
    known = {
        key: float(value)
        for key, value in sorted(run.metrics.items())
        if not key.startswith(PREFIX) and not isinstance(value, str)  # NaN is text
    }
    finite = [(key, value) for key, value in known.items() if math.isfinite(value)]
    EvaluationResult.objects.bulk_create(
        [
            EvaluationResult(
                project_id=run.project_id,
                run_id=checkpoint.run_id,
                checkpoint=checkpoint,
                evaluated_by=run,
                step=checkpoint.step or 0,
                key=key,
                value=value,
                created_at=Now(),
            )
            for key, value in finite[:MAX_METRICS]
        ]
    )
