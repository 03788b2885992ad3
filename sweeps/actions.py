"""What people do with sweeps: create, pause, continue, cancel them."""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from metrics.goals import Direction, direction_of
from projects.hyperparameters import check_hyperparameters
from projects.models import Project, ProjectArchived
from runs.actions import pool_of
from runs.code import CodeRequest, code_of_new_run
from runs.datasets import check_dataset
from runs.models import Recipe
from runs.status import InvalidTransition
from sweeps.models import Goal, Method, Pruning, Sweep, SweepStatus, TrialState, ValueOf
from sweeps.spaces import Space, check_space, grid_of

MAX_PARALLEL: Final = 500
MAX_SEED: Final = 2**53  # JSON readers of every language keep it
DEFAULT_TRIALS: Final = 20
DEFAULT_PARALLEL: Final = 4
DEFAULT_FACTOR: Final = 3
MAX_FACTOR: Final = 100


def create_sweep(
    project: Project,
    *,
    by: User | None,
    search_space: Any,
    metric: str,
    goal: str = "",
    value_of: str = ValueOf.LAST,
    method: str = Method.TPE,
    pruning: str = Pruning.NONE,
    min_steps: int | None = None,
    reduction_factor: int | None = None,
    max_trials: int | None = None,
    max_parallel: int = DEFAULT_PARALLEL,
    seed: int | None = None,
    name: str = "",
    recipe: Recipe | None = None,
    code: CodeRequest | None = None,
    **configuration: Any,
) -> Sweep:
    """A sweep that workers begin at once. ``code``: that all of its runs bring; ``configuration``:
    what else create_run takes.

    ``goal``: by default what the metric's name tells. ``max_trials``: by default 20, or every point
    of a grid. Raises ProjectArchived, InvalidInput, CodeForbidden.
    """
    recipe = recipe or _default_recipe()
    space = check_space(search_space, is_grid=method == Method.GRID)
    _check_configuration(recipe, space, configuration)
    _check_pruning(pruning, min_steps, reduction_factor)
    code_of_new_run(code, recipe, by=by)  # as for each of its runs
    if code is not None:
        configuration["code"] = asdict(code)
    with transaction.atomic():
        current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if current.is_archived:
            raise ProjectArchived(_("The project is archived and does not accept new runs."))
        return Sweep.objects.create(
            project=project,
            name=name or f"sweep-{project.sweeps.count() + 1:03d}",
            recipe=recipe,
            configuration=configuration,
            search_space=space,
            method=method,
            metric=metric,
            goal=goal or _goal_of(metric),
            value_of=value_of,
            pruning=pruning,
            min_steps=min_steps,
            reduction_factor=_factor(pruning, reduction_factor),
            max_trials=_number_of_trials(method, space, max_trials),
            max_parallel=max_parallel,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            created_by=by,
        )


def _default_recipe() -> Recipe:
    recipe = Recipe.objects.filter(is_default=True, enabled=True).first()
    if recipe is None:
        raise InvalidInput(_("There is no default recipe: specify a recipe."), attr="recipe")
    return recipe


def _check_configuration(recipe: Recipe, space: Space, configuration: dict[str, Any]) -> None:
    """What every run would refuse is refused before there is any."""
    fixed = check_hyperparameters(configuration.get("hyperparameters") or {})
    both = sorted(space.keys() & fixed.keys())
    if both:
        raise InvalidInput(
            _("%(name)s is in the search space: it cannot be fixed, too.") % {"name": both[0]},
            attr="hyperparameters",
        )
    check_dataset(configuration.get("dataset") or "")
    resources = configuration.get("resources") or {}
    gpu_type = resources.get("gpu_type", recipe.gpu_type)
    pool_of(recipe, gpu_type, resources.get("gpu_count", recipe.gpu_count))


def _check_pruning(pruning: str, min_steps: int | None, reduction_factor: int | None) -> None:
    if pruning == Pruning.NONE and (min_steps is not None or reduction_factor is not None):
        raise InvalidInput(_("Without pruning there are no rungs."), attr="pruning")
    if pruning == Pruning.ASHA and min_steps is None:
        raise InvalidInput(
            _("ASHA needs min_steps: the step at which trials are first compared."),
            attr="pruning",
        )


def _factor(pruning: str, reduction_factor: int | None) -> int | None:
    if pruning == Pruning.NONE:
        return None
    return DEFAULT_FACTOR if reduction_factor is None else reduction_factor


def _goal_of(metric: str) -> str:
    direction = direction_of(metric)
    if direction is None:
        raise InvalidInput(
            _("The name %(metric)s does not tell whether less or more is better: say it.")
            % {"metric": metric},
            attr="objective",
        )
    return Goal.MINIMIZE if direction is Direction.LOWER else Goal.MAXIMIZE


def _number_of_trials(method: str, space: Space, asked: int | None) -> int:
    if method != Method.GRID:
        return DEFAULT_TRIALS if asked is None else asked
    points = math.prod(len(values) for values in grid_of(space).values())
    return points if asked is None else min(asked, points)


def pause_sweep(sweep: Sweep) -> Sweep:
    """Start no more trials until it is continued; those that run go on. Idempotent.

    Raises InvalidTransition if it is over.
    """
    with transaction.atomic():
        locked = Sweep.objects.lock(sweep.pk)
        _check_not_over(locked)
        _set_status(locked, SweepStatus.PAUSED, status_reason=locked.status_reason)
    return locked


def continue_sweep(sweep: Sweep) -> Sweep:
    """Raises InvalidTransition if it is not paused."""
    with transaction.atomic():
        locked = Sweep.objects.lock(sweep.pk)
        if locked.status != SweepStatus.PAUSED:
            raise InvalidTransition(
                _("The sweep is not paused (%(status)s): there is nothing to continue.")
                % {"status": locked.get_status_display()}
            )
        _set_status(locked, SweepStatus.RUNNING, status_reason="", continued_at=Now())
    return locked


def cancel_sweep(sweep: Sweep, *, by: User | None) -> Sweep:
    """End it: workers ask its runs to stop, each with a checkpoint. Idempotent.

    Raises InvalidTransition if it has completed.
    """
    with transaction.atomic():
        locked = Sweep.objects.lock(sweep.pk)
        if locked.status == SweepStatus.CANCELLED:
            return locked
        _check_not_over(locked)
        _set_status(
            locked, SweepStatus.CANCELLED, status_reason="", cancelled_by=by, finished_at=Now()
        )
        locked.trials.filter(state=TrialState.RUNNING).update(is_stopping=True)
    return locked


def _check_not_over(sweep: Sweep) -> None:
    if sweep.is_over:
        raise InvalidTransition(
            _("The sweep has ended (%(status)s).") % {"status": sweep.get_status_display()}
        )


def _set_status(sweep: Sweep, to: SweepStatus, **fields: Any) -> None:
    for name, value in {"status": to, **fields}.items():
        setattr(sweep, name, value)
    sweep.save(update_fields=["status", *fields, "updated_at"])
    sweep.refresh_from_db()
