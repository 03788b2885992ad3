"""What happens to a run and concerns more than its row: start, resume, cancel, retry, settle."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from projects.hyperparameters import check_hyperparameters, from_texts
from projects.models import Project
from runs.executors.base import Observation, Work
from runs.executors.registry import executor_of
from runs.models import EventKind, Recipe, Run, StopKind, Worker
from runs.outputs import latest_sound_checkpoint
from runs.status import InvalidTransition, RunStatus
from trainhub.exceptions import InvalidInput

if TYPE_CHECKING:
    from artifacts.models import Artifact

logger = logging.getLogger(__name__)

CANCEL_POLL_SECONDS = 0.1


class InvalidSource(InvalidInput):
    code = "invalid_source_artifact"


def create_run(
    project: Project,
    *,
    by: User | None,
    name: str = "",
    model: str = "",
    dataset: str = "",
    hyperparameters: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
    priority: int = 0,
) -> Run:
    """Queue a run of ``project``'s configuration overlaid by what is given; nothing else happens.

    Raises ProjectArchived, InvalidInput.
    """
    recipe = recipe or _default_recipe()
    resources = resources or {}
    with transaction.atomic():
        number = project.admit_run()
        # Read after that, so that they are those of the version that the run pins.
        merged = {
            **recipe.default_hyperparameters,
            **project.default_hyperparameters,
            **(hyperparameters or {}),
        }
        run = Run(
            project=project,
            name=name or f"run-{number:03d}",
            recipe=recipe,
            model=model or project.base_model,
            dataset=dataset,
            hyperparameters=check_hyperparameters(merged),
            gpu_type=resources.get("gpu_type", recipe.gpu_type),
            gpu_count=resources.get("gpu_count", recipe.gpu_count),
            priority=priority,
            max_restarts=recipe.max_restarts,
        )
        return _admit(run, RunStatus.QUEUED, by=by)


def resume_run(
    source: Run,
    checkpoint: Artifact,
    *,
    by: User | None,
    name: str = "",
    model: str = "",
    dataset: str = "",
    hyperparameters: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
    priority: int | None = None,
) -> Run:
    """A new run, 运行中, of ``source``'s configuration overlaid by what is given, that goes on
    from ``checkpoint``, one of ``source``'s project. Raises ProjectArchived, InvalidInput,
    ArtifactGone.
    """
    if not checkpoint.is_checkpoint:
        raise InvalidSource(
            _("%(id)s is not a checkpoint.") % {"id": checkpoint.pk}, attr="source_artifact_id"
        )
    if checkpoint.run.project_id != source.project_id:
        raise InvalidSource(
            _("%(id)s belongs to another project.") % {"id": checkpoint.pk},
            attr="source_artifact_id",
        )
    run = _clone(source, hyperparameters=hyperparameters, resources=resources)
    run.name = name
    run.model = model or run.model
    run.dataset = dataset or run.dataset
    run.recipe = recipe or run.recipe
    run.priority = run.priority if priority is None else priority
    run.resumed_from = checkpoint
    run.start_step = run.step = checkpoint.step or 0
    _check_recipe(run)
    planned = executor_of(run).planned_steps(run.hyperparameters)
    if planned is not None and planned <= run.start_step:
        raise InvalidInput(
            _(
                "The checkpoint is at step %(step)d and the run would end at step %(end)d: "
                "nothing is left to train. Raise max_steps or num_epochs."
            )
            % {"step": run.start_step, "end": planned},
            attr="hyperparameters",
        )
    run.total_steps = _length_of(source, run)
    with transaction.atomic():
        checkpoint.lock()
        number = run.project.admit_run()
        run.name = run.name or f"run-{number:03d}"
        return _admit(run, RunStatus.RUNNING, by=by, reason=checkpoint.pk)


def retry_run(run: Run, *, by: User | None) -> Run:
    """The same configuration queued once more, from the latest sound checkpoint if there is one.

    Raises InvalidTransition, ProjectArchived, ArtifactGone.
    """
    if not run.is_terminal:
        raise InvalidTransition(_("The run is not over: there is nothing to retry."))
    clone = _clone(run, hyperparameters=None, resources=None)
    _check_recipe(clone)
    clone.total_steps = run.total_steps
    checkpoint = None
    if run.status != RunStatus.COMPLETED:
        checkpoint = latest_sound_checkpoint(run) or run.resumed_from
    if checkpoint is not None:
        clone.resumed_from = checkpoint
        clone.start_step = clone.step = checkpoint.step or 0
    with transaction.atomic():
        if checkpoint is not None:
            checkpoint.lock()
        clone.name = f"run-{clone.project.admit_run():03d}"
        return _admit(clone, RunStatus.QUEUED, by=by, reason=run.pk)


def _length_of(source: Run, run: Run) -> int | None:
    """What ``source``'s training has said of its length, if ``run``'s will be the same."""
    decisive = ("max_steps", "num_epochs", "batch_size")
    same = run.recipe_id == source.recipe_id and run.dataset == source.dataset
    for name in decisive:
        same = same and run.hyperparameters.get(name) == source.hyperparameters.get(name)
    return source.total_steps if same else None


def _default_recipe() -> Recipe:
    recipe = Recipe.objects.filter(is_default=True, enabled=True).first()
    if recipe is None:
        raise InvalidInput(_("There is no default recipe: name one."), attr="recipe")
    return recipe


def _check_recipe(run: Run) -> None:
    """Raises InvalidInput for a clone of a script that was started elsewhere."""
    if run.recipe is None:
        raise InvalidInput(
            _("The run was carried out elsewhere: name the recipe that goes on with it."),
            attr="recipe",
        )


def _clone(
    source: Run, *, hyperparameters: dict[str, Any] | None, resources: dict[str, Any] | None
) -> Run:
    run = Run(project=source.project)
    for field in Run.CONFIGURATION:
        setattr(run, field, getattr(source, field))
    known = source.hyperparameters
    if source.is_external:
        known = from_texts(known)
    run.hyperparameters = check_hyperparameters({**known, **(hyperparameters or {})})
    for field, value in (resources or {}).items():
        setattr(run, field, value)
    return run


def _admit(run: Run, status: RunStatus, *, by: User | None, reason: str = "") -> Run:
    """Save a new run and its first event. Call in the transaction that admitted it."""
    run.project_version = run.project.version
    planned = executor_of(run).planned_steps(run.hyperparameters)
    run.total_steps = run.total_steps if planned is None else planned
    run.progress = min(1.0, run.step / run.total_steps) if run.total_steps else 0.0
    run.status = status
    run.created_by = by
    run.queued_at = Now()
    if status == RunStatus.RUNNING:
        run.started_at = Now()
    run.save(force_insert=True)
    run.note(EventKind.CREATED, to_status=status, by=by, reason=reason)
    run.refresh_from_db()
    return run


# --- cancel ----------------------------------------------------------------------------------


def cancel_run(run: Run, *, by: User | None, wait_seconds: float | None = None) -> Run:
    """Ask the run to stop and wait until it has, ``wait_seconds`` at most.

    Returns it as it then is: cancelled, or still running if its worker has not ended it by then.
    Of a cancel and a completion at once one wins. Raises InvalidTransition if the run has
    completed or failed; a run that is already cancelled is returned as it is.
    """
    current = Run.objects.select_related("recipe").get(pk=run.pk)
    if current.status != RunStatus.CANCELLED:
        current = _request_cancel(current, by)
        wait = settings.CANCEL_WAIT_SECONDS if wait_seconds is None else wait_seconds
        current = _wait_until_over(current, wait)
    if current.is_terminal and current.status != RunStatus.CANCELLED:
        raise InvalidTransition(
            _("The run is over (%(status)s): it cannot be cancelled.")
            % {"status": current.get_status_display()}
        )
    return current


def _request_cancel(run: Run, by: User | None) -> Run:
    while True:
        unclaimed = run.worker_id is None
        # Reads bytes, so before the lock; with a worker at work it is the worker's business.
        verified = latest_sound_checkpoint(run) if unclaimed else None
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            if locked.is_terminal:
                return locked
            locked.request_stop(StopKind.CANCEL, by=by)
            # With no worker at work, or with work that is rows, the end is ours to make.
            held = locked.worker_id is not None
            if executor_of(locked).in_database or (unclaimed and not held):
                finish_cancel(locked, verified, by=by)
                return locked
        if held:
            return locked
        run = locked  # given back by its worker this very moment


def _wait_until_over(run: Run, seconds: float) -> Run:
    deadline = time.monotonic() + seconds
    while not run.is_terminal and time.monotonic() < deadline:
        time.sleep(CANCEL_POLL_SECONDS)
        run.refresh_from_db()
    return run


def finish_cancel(
    run: Run, verified: Artifact | None, *, by: User | None = None, exit_code: int | None = None
) -> None:
    """The work has ended: keep its last checkpoint under the name for it, and say 已取消.

    ``verified``: the run's latest sound checkpoint. Call with the row locked.
    """
    checkpoint = executor_of(run).final_checkpoint(run, verified)
    if checkpoint is None:
        reason = _("Cancelled; there is no checkpoint.")
    else:
        checkpoint.name_final()
        reason = _("Cancelled; kept the checkpoint of step %(step)d (%(id)s).") % {
            "step": checkpoint.step or 0,
            "id": checkpoint.pk,
        }
    run.transition(RunStatus.CANCELLED, reason=reason, by=by, exit_code=exit_code)


# --- the end of the work ---------------------------------------------------------------------


def settle(run: Run, observation: Observation, *, worker: Worker) -> None:
    """The work of ``worker``'s run has ended as observed: give the run the status that follows.

    Raises LeaseLost.
    """
    finished = observation.work is Work.FINISHED
    verified = None if finished else latest_sound_checkpoint(run)
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        code = observation.exit_code
        if finished:
            locked.transition(RunStatus.COMPLETED, progress=1.0, exit_code=code)
        elif locked.stop_requested_at is not None:
            finish_cancel(locked, verified, exit_code=code)
        elif observation.work is Work.FAILED:
            locked.transition(RunStatus.FAILED, reason=observation.reason, exit_code=code)
        else:
            locked.recover(observation.reason or _("The training stopped without being asked."))
    logger.info("run %s is %s", locked.pk, locked.status)
    if locked.is_terminal:
        executor_of(locked).forget(locked)


def reap(run: Run, reason: str, *, by: Worker) -> None:
    """The run's worker is gone: let another go on, or end what was being stopped.

    Call with the row locked.
    """
    if run.stop_requested_at is None:
        run.recover(reason)
    elif executor_of(run).in_database:
        finish_cancel(run, None)
    else:
        # What is left of the work may still be here, and hold a newer checkpoint.
        run.take_over(by, reason)
