"""Operations on runs that involve more than a run's row: create, resume, retry, cancel, settle."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from psycopg.errors import ForeignKeyViolation

from core.exceptions import InvalidInput
from core.messages import Message, Text
from projects.hyperparameters import check_hyperparameters, from_texts
from projects.models import Project
from runs import attempts
from runs.checkpoint import Checkpoint, CheckpointGone
from runs.code import CodeRequest, UnknownCode, code_of_new_run
from runs.datasets import check_dataset
from runs.durations import expected_seconds
from runs.executors import WorkState, WorkStatus, executor_of, executors
from runs.interruptions import INTERRUPTIONS, finish_interruption
from runs.models import (
    CodeBundle,
    EventKind,
    FailureKind,
    GpuPool,
    Recipe,
    Run,
    RunCode,
    StallAction,
    StopKind,
    Worker,
)
from runs.resources import check_nodes
from runs.signals import run_admitting, run_completed
from runs.status import InvalidTransition, RunStatus
from runs.troubles import stall_of

logger = logging.getLogger(__name__)

CANCEL_POLL_SECONDS = 0.1
TEST_STEPS = 10  # of a run that tries a recipe


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
    preemptible: bool | None = None,
    code: CodeRequest | None = None,
    code_of: Run | None = None,
    time_limit_seconds: int | None = None,
    evaluates: Checkpoint | None = None,
) -> Run:
    """Queue a run with ``project``'s configuration, overridden by the arguments.

    ``code_of``: the run whose code it gets if it brings none, as a resumed run does. ``evaluates``:
    a checkpoint that it starts from, as a resumed run does; the project's hyperparameters are those
    of trainings, so it has only its recipe's. Raises ProjectArchived, InvalidInput, CodeForbidden,
    CheckpointGone.
    """
    recipe = recipe or default_recipe()
    resources = resources or {}
    its_code = code_of_new_run(code, recipe, by=by, source=code_of)
    with transaction.atomic():
        number = project.allocate_run_number()
        # Read the defaults only now: allocating has refreshed ``project`` to the version that the
        # run pins.
        merged = {
            **recipe.default_hyperparameters,
            **({} if evaluates else project.default_hyperparameters),
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
            nodes=resources.get("nodes", recipe.nodes),
            time_limit_seconds=time_limit_seconds or recipe.time_limit_seconds,
            priority=priority,
            preemptible=recipe.preemptible if preemptible is None else preemptible,
            max_restarts=recipe.max_restarts,
        )
        if evaluates is not None:
            _start_from(run, evaluates)
        return _admit(run, RunStatus.QUEUED, by=by, code=its_code)


def try_recipe(recipe: Recipe, project: Project, *, by: User | None) -> Run:
    """Queue a short run of ``recipe``, also of one that is disabled, to see whether it works.

    Raises ProjectArchived, InvalidInput.
    """
    return create_run(
        project,
        by=by,
        name=_("test of %(name)s") % {"name": recipe.name},
        recipe=recipe,
        hyperparameters={"max_steps": TEST_STEPS},
    )


def resume_run(
    source: Run,
    checkpoint: Checkpoint,
    *,
    by: User | None,
    name: str = "",
    model: str = "",
    dataset: str = "",
    hyperparameters: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
    priority: int | None = None,
    preemptible: bool | None = None,
    code: CodeRequest | None = None,
    time_limit_seconds: int | None = None,
) -> Run:
    """Create a 运行中 run that continues from ``checkpoint``, which is of ``source``'s project.

    Its configuration is ``source``'s, also its code, overridden by the arguments. Raises
    ProjectArchived, InvalidInput, CodeForbidden, CheckpointGone.
    """
    run = _clone(source, hyperparameters=hyperparameters, resources=resources)
    run.name = name
    run.model = model or run.model
    run.dataset = dataset or run.dataset
    run.recipe = recipe or run.recipe
    run.priority = run.priority if priority is None else priority
    run.preemptible = run.preemptible if preemptible is None else preemptible
    run.time_limit_seconds = time_limit_seconds or run.time_limit_seconds
    _start_from(run, checkpoint)
    its_code = code_of_new_run(code, _recipe_of(run), by=by, source=source)
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
    run.total_steps = _inherited_total_steps(source, run)
    with transaction.atomic():
        number = run.project.allocate_run_number()
        run.name = run.name or f"run-{number:03d}"
        return _admit(run, RunStatus.RUNNING, by=by, reason=checkpoint.id, code=its_code)


def retry_run(run: Run, *, by: User | None) -> Run:
    """Queue the same configuration again, from the latest sound checkpoint if there is one.

    Raises InvalidTransition, ProjectArchived, InvalidInput, CodeForbidden, CheckpointGone.
    """
    if not run.is_terminal:
        raise InvalidTransition(_("The run has not ended yet: there is nothing to retry."))
    clone = _clone(run, hyperparameters=None, resources=None)
    its_code = code_of_new_run(None, _recipe_of(clone), by=by, source=run)
    clone.total_steps = run.total_steps
    if run.status != RunStatus.COMPLETED:
        checkpoint = executor_of(run).latest_checkpoint(run) or _source_of(run)
        if checkpoint is not None:
            _start_from(clone, checkpoint)
    with transaction.atomic():
        clone.name = f"run-{clone.project.allocate_run_number():03d}"
        return _admit(clone, RunStatus.QUEUED, by=by, reason=run.pk, code=its_code)


def _source_of(run: Run) -> Checkpoint | None:
    """The checkpoint that the run itself was resumed from."""
    if run.resumed_from_id is None:
        return None
    return Checkpoint(run.resumed_from_id, run.start_step)


def _start_from(run: Run, checkpoint: Checkpoint) -> None:
    run.resumed_from_id = checkpoint.id
    run.start_step = run.step = checkpoint.step


def _inherited_total_steps(source: Run, run: Run) -> int | None:
    """The total that ``source``'s training reported, if ``run`` will have the same length."""
    decisive = ("max_steps", "num_epochs", "batch_size")
    same = run.recipe_id == source.recipe_id and run.dataset == source.dataset
    for name in decisive:
        same = same and run.hyperparameters.get(name) == source.configured_hyperparameters.get(name)
    return source.total_steps if same else None


def default_recipe() -> Recipe:
    """Raises InvalidInput if there is none."""
    recipe = Recipe.objects.filter(is_default=True, enabled=True).first()
    if recipe is None:
        raise InvalidInput(_("There is no default recipe: specify a recipe."), attr="recipe")
    return recipe


def _recipe_of(run: Run) -> Recipe:
    """Raises InvalidInput for a clone of an unmanaged run without a recipe."""
    if run.recipe is None:
        raise InvalidInput(
            _("The run is unmanaged: specify the recipe to continue it with."),
            attr="recipe",
        )
    return run.recipe


def _clone(
    source: Run, *, hyperparameters: dict[str, Any] | None, resources: dict[str, Any] | None
) -> Run:
    run = Run(project=source.project)
    for field in Run.CONFIGURATION:
        setattr(run, field, getattr(source, field))
    known = source.configured_hyperparameters
    if source.is_unmanaged:
        known = from_texts(known)
    run.hyperparameters = check_hyperparameters({**known, **(hyperparameters or {})})
    for field, value in (resources or {}).items():
        setattr(run, field, value)
    return run


def _admit(
    run: Run,
    status: RunStatus,
    *,
    by: User | None,
    reason: Text = "",
    code: RunCode | None = None,
) -> Run:
    """Save a new run, its code and its first event. Call in the transaction that allocated its
    number. Raises InvalidInput, CheckpointGone, and whatever receivers of run_admitting raise."""
    check_dataset(run.dataset)  # also one that the script of an unmanaged run has reported
    check_nodes(run.recipe.executor if run.recipe else "", run.nodes, run.gpu_count)
    run.project_version = run.project.version
    planned = executor_of(run).planned_steps(run.hyperparameters)
    run.total_steps = run.total_steps if planned is None else planned
    run.progress = min(1.0, run.step / run.total_steps) if run.total_steps else 0.0
    _assign_pool(run)
    run.expected_seconds = expected_seconds(run)
    run.status = status
    run.created_by = by
    run.queued_at = Now()
    if status == RunStatus.RUNNING:
        run.started_at = Now()
    run_admitting.send(Run, run=run)
    try:
        run.save(force_insert=True)
    except IntegrityError as error:
        # The foreign key also keeps the checkpoint from being deleted until this commits.
        cause = error.__cause__
        if (
            not isinstance(cause, ForeignKeyViolation)
            or cause.diag.constraint_name != "run_resumed_from"
        ):
            raise
        message = Message("%(id)s has been deleted.", id=run.resumed_from_id)
        raise CheckpointGone(message) from error
    if code is not None:
        _keep_code(run, code)
    run.note(EventKind.CREATED, to_status=status, by=by, reason=reason)
    run.refresh_from_db()
    return run


def pool_of(recipe: Recipe, gpu_type: str, gpu_count: int) -> GpuPool | None:
    """The pool that runs of the recipe count against; None if nobody counts. Raises
    InvalidInput."""
    return GpuPool.objects.for_run(
        recipe.executor,
        gpu_type,
        gpu_count,
        str(recipe.engine_options.get("partition", "")),
        own=executors()[recipe.executor].has_queue,
    )


def _assign_pool(run: Run) -> None:
    """The pool that its GPUs count against. Raises InvalidInput if there is no such type."""
    assert run.recipe is not None
    pool = pool_of(run.recipe, run.gpu_type, run.gpu_count)
    run.pool = "" if pool is None else pool.name
    run.gpu_type = run.gpu_type if pool is None else pool.gpu_type
    run.kind = run.recipe.kind


def _keep_code(run: Run, code: RunCode) -> None:
    """Lock the bundle, so that it is not swept until this commits. Raises UnknownCode."""
    if code.bundle_id is not None:
        bundles = CodeBundle.objects.select_for_update(no_key=True).filter(pk=code.bundle_id)
        if not bundles.values_list("pk"):
            raise UnknownCode(_("There is no code with this hash: upload it first."), attr="code")
    code.run = run
    code.save(force_insert=True)


# --- cancel ----------------------------------------------------------------------------------


def cancel_run(
    run: Run, *, by: User | None, wait_seconds: float | None = None, reason: Text = ""
) -> Run:
    """Ask the run to stop and wait at most ``wait_seconds`` until it has. ``reason``: of a cancel
    that nobody asked for.

    Returns the run: cancelled, or still running if its worker has not stopped it by then. If a
    cancel and a completion race, one wins. A run that is already cancelled is returned unchanged.
    Raises InvalidTransition if the run has completed or failed.
    """
    current = Run.objects.select_related("recipe").get(pk=run.pk)
    if current.status != RunStatus.CANCELLED:
        current = _request_cancel(current, by, reason)
        wait = settings.CANCEL_WAIT_SECONDS if wait_seconds is None else wait_seconds
        current = _wait_until_over(current, wait)
    if current.is_terminal and current.status != RunStatus.CANCELLED:
        raise InvalidTransition(
            _("The run has ended (%(status)s): it cannot be cancelled.")
            % {"status": current.get_status_display()}
        )
    return current


def _request_cancel(run: Run, by: User | None, reason: Text) -> Run:
    while True:
        unclaimed = run.worker_id is None
        # Reads the stored bytes, so do it before locking. If a worker holds the run, the worker
        # does it.
        latest = executor_of(run).latest_checkpoint(run) if unclaimed else None
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            if locked.is_terminal:
                return locked
            locked.request_stop(StopKind.CANCEL, by=by, reason=reason)
            # If no worker holds the run, or the work is only rows, end it here.
            held = locked.worker_id is not None
            if executor_of(locked).in_database or (unclaimed and not held):
                finish_cancel(locked, latest, by=by)
                return locked
        if held:
            return locked
        run = locked  # its worker has just released it: try again


def _wait_until_over(run: Run, seconds: float) -> Run:
    deadline = time.monotonic() + seconds
    while not run.is_terminal and time.monotonic() < deadline:
        time.sleep(CANCEL_POLL_SECONDS)
        run.refresh_from_db()
    return run


def finish_cancel(
    run: Run, latest: Checkpoint | None, *, by: User | None = None, exit_code: int | None = None
) -> None:
    """Set a run whose work has ended to 已取消, and keep its last checkpoint.

    ``latest``: the run's latest sound checkpoint. Call with the row locked.
    """
    checkpoint = executor_of(run).keep_checkpoint(run, latest)
    if checkpoint is None:
        reason = Message("Cancelled; there is no checkpoint.")
    else:
        reason = Message(
            "Cancelled; kept the checkpoint at step %(step)d (%(id)s).",
            step=checkpoint.step,
            id=checkpoint.id,
        )
    run.transition(RunStatus.CANCELLED, reason=reason, by=by, exit_code=exit_code)


# --- the end of the work ---------------------------------------------------------------------


def settle(run: Run, work: WorkStatus, *, worker: Worker) -> None:
    """Set the status of ``worker``'s run, whose work has ended. Raises LeaseLost."""
    finished = work.state is WorkState.FINISHED
    latest = None if finished else executor_of(run).latest_checkpoint(run)
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        code = work.exit_code
        if finished:
            locked.transition(RunStatus.COMPLETED, progress=1.0, exit_code=code)
            run_completed.send(Run, run=locked)
        elif locked.stop_kind == StopKind.STALLED and work.state is WorkState.STOPPED:
            _end_stalled(locked, latest, exit_code=code)
        elif locked.stop_kind == StopKind.CANCEL or (
            locked.stop_kind in INTERRUPTIONS and work.state is not WorkState.FAILED
        ):
            _finish_stop(locked, latest, exit_code=code)
        elif work.state is WorkState.FAILED:
            locked.transition(
                RunStatus.FAILED, reason=work.reason, exit_code=code, failure_kind=_kind(work)
            )
        elif work.is_interruption:
            attempts.continue_after(
                locked,
                work.reason,
                failure_kind=_kind(work),
                checkpoint_step=None if latest is None else latest.step,
                exit_code=code,
            )
        else:
            attempts.recover(
                locked,
                work.reason or Message("The training stopped unexpectedly."),
                checkpoint_step=None if latest is None else latest.step,
                exit_code=code,
                failure_kind=_kind(work),
            )
    logger.info("run %s is %s", locked.pk, locked.status)
    if locked.is_terminal:
        executor_of(locked).forget(locked)


def _finish_stop(run: Run, latest: Checkpoint | None, *, exit_code: int | None = None) -> None:
    """Set the status of a run that was to stop, by whatever it was to stop for."""
    if run.stop_kind in INTERRUPTIONS:
        finish_interruption(run, latest)
    else:
        finish_cancel(run, latest, exit_code=exit_code)


def stop_stalled(run: Run, reason: Text, *, worker: Worker) -> None:
    """Ask ``worker``'s run to stop because it no longer advances. Raises LeaseLost."""
    with transaction.atomic():
        locked = Run.objects.lock_held_by(worker, run.pk)
        if locked.stop_requested_at is None:
            locked.change(status_reason=reason)
            locked.request_stop(StopKind.STALLED, by=None, reason=reason)
    logger.warning("run %s has stalled: %s", run.pk, reason)


def _end_stalled(run: Run, latest: Checkpoint | None, *, exit_code: int | None) -> None:
    """Restart a run that was stopped because it had stalled, or end it, as its recipe says."""
    reason = stall_of(run) or run.status_reason
    if run.recipe is not None and run.recipe.stall_action == StallAction.RESTART:
        attempts.recover(
            run,
            reason,
            checkpoint_step=None if latest is None else latest.step,
            failure_kind=FailureKind.STALLED,
            exit_code=exit_code,
        )
    else:
        run.transition(
            RunStatus.FAILED, reason=reason, exit_code=exit_code, failure_kind=FailureKind.STALLED
        )


def _kind(work: WorkStatus) -> str:
    """The kind of failure of work that has failed or died, also if its executor does not tell."""
    if work.failure_kind:
        return work.failure_kind
    if work.state is not WorkState.FAILED:
        return FailureKind.KILLED
    return FailureKind.CANNOT_START if work.exit_code is None else FailureKind.EXIT_CODE


def reap(run: Run, reason: Text, *, by: Worker) -> None:
    """Recover a run whose worker died, or finish stopping it. Call with the row locked."""
    if executor_of(run).has_queue:  # its job goes on
        is_wanted = run.stop_kind in {StopKind.CANCEL, StopKind.PAUSE}
        is_wanted = is_wanted or not executor_of(run).schedules  # it keeps the GPUs of its pool
        attempts.hand_over(run, by if is_wanted else None, reason)
    elif run.stop_kind not in {StopKind.CANCEL, StopKind.PAUSE}:
        attempts.continue_elsewhere(run, reason)
    elif executor_of(run).in_database:
        _finish_stop(run, None)
    else:
        # Processes may still run on this host and hold a newer checkpoint.
        attempts.take_over(run, by, reason)
