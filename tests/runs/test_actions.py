"""Creating, resuming, retrying and cancelling runs, and settling their work."""

import io

import pytest

from artifacts import storing
from artifacts.checkpoints import InvalidSource, resume_run
from artifacts.models import FINAL_CHECKPOINT_NAME
from core.exceptions import InvalidInput
from execution.executors.simulated import SimulatedExecutor
from projects.models import Project, ProjectArchived, ProjectStatus
from runs.actions import (
    cancel_run,
    create_run,
    reap,
    retry_run,
    settle,
)
from runs.executors import WorkState, WorkStatus
from runs.models import EventKind, LeaseLost, Recipe, Run
from runs.status import InvalidTransition, RunStatus
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    checkpoint,
    damage,
    running,
)

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- create ----------------------------------------------------------------------------------


def test_hyperparameters_of_the_request_override_the_projects_and_the_recipes():
    recipe = RecipeFactory(default_hyperparameters={"a": "recipe", "b": "recipe", "c": "recipe"})
    project = ProjectFactory(default_hyperparameters={"b": "project", "c": "project"})

    run = create_run(project, by=None, recipe=recipe, hyperparameters={"c": "request"})

    assert run.hyperparameters == {"a": "recipe", "b": "project", "c": "request"}


def test_new_run_is_queued_with_a_created_event():
    user = UserFactory()

    run = create_run(ProjectFactory(), by=user)

    event = run.events.get()
    assert (run.status, run.progress, run.started_at) == (RunStatus.QUEUED, 0.0, None)
    assert run.queued_at is not None
    assert (event.kind, event.to_status, event.actor) == (
        EventKind.CREATED,
        RunStatus.QUEUED,
        user,
    )


def test_run_pins_the_project_version_it_was_created_from():
    project = ProjectFactory()
    project.revise({"default_hyperparameters": {"max_steps": 7}}, by=None)
    stale = Project.objects.get(pk=project.pk)
    project.revise({"default_hyperparameters": {"max_steps": 9}}, by=None)

    run = create_run(stale, by=None)

    assert (run.project_version, run.hyperparameters) == (3, {"max_steps": 9})


def test_archived_project_refuses_a_new_run():
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        create_run(project, by=None)

    project.refresh_from_db()
    assert (project.run_count, project.runs.count()) == (0, 0)


def test_invalid_hyperparameters_create_nothing():
    project = ProjectFactory()

    with pytest.raises(InvalidInput):
        create_run(project, by=None, hyperparameters={"max_steps": -1})

    project.refresh_from_db()
    assert (project.run_count, project.runs.count()) == (0, 0)


def test_without_a_default_recipe_the_recipe_is_required():
    Recipe.objects.update(is_default=False)

    with pytest.raises(InvalidInput) as error:
        create_run(ProjectFactory(), by=None)

    assert error.value.attr == "recipe"


@with_two_connections
def test_concurrently_created_runs_are_numbered_without_gaps():
    project = ProjectFactory()

    def create():
        return create_run(Project.objects.get(pk=project.pk), by=None).name

    names = in_parallel(*[create] * 8)

    assert sorted(names) == [f"run-{number:03d}" for number in range(1, 9)]
    project.refresh_from_db()
    assert project.run_count == 8


@with_two_connections
def test_concurrently_archived_project_refuses_a_new_run():
    project = ProjectFactory()

    def archive():
        Project.objects.select_for_update().get(pk=project.pk)
        Project.objects.get(pk=project.pk).set_status(ProjectStatus.ARCHIVED)

    with transaction_elsewhere(archive):
        assert not Project.objects.get(pk=project.pk).is_archived  # not committed yet

    with pytest.raises(ProjectArchived):
        create_run(project, by=None)


# --- resume ----------------------------------------------------------------------------------


def test_resumed_run_is_running_at_the_checkpoints_step():
    source = RunFactory(status=RunStatus.CANCELLED)
    kept = checkpoint(source, step=40)

    run = resume_run(source, kept, by=None)

    assert (run.status, run.step, run.start_step, run.progress) == (RunStatus.RUNNING, 40, 40, 0.4)
    assert run.resumed_from_id == kept.pk
    assert run.started_at is not None
    assert run.worker is None
    assert run.events.get().to_status == RunStatus.RUNNING


def test_resumed_run_clones_the_source_with_overrides():
    source = RunFactory(
        status=RunStatus.FAILED,
        hyperparameters={"max_steps": 100, "seed": 1},
        gpu_type="A100",
        gpu_count=4,
        priority=3,
    )

    run = resume_run(
        source,
        checkpoint(source, step=40),
        by=None,
        hyperparameters={"max_steps": 80},
        resources={"gpu_count": 2},
    )

    assert run.hyperparameters == {"max_steps": 80, "seed": 1}
    assert run.resources == {"gpu_type": "A100", "gpu_count": 2, "nodes": 1}
    assert (run.model, run.dataset, run.priority) == (source.model, source.dataset, 3)
    assert run.progress == 0.5


def test_checkpoint_of_another_run_of_the_project_is_accepted():
    source = RunFactory()
    sibling = RunFactory(project=source.project)

    assert resume_run(source, checkpoint(sibling, step=7), by=None).step == 7


def test_checkpoint_of_another_project_is_refused():
    with pytest.raises(InvalidSource) as error:
        resume_run(RunFactory(), checkpoint(RunFactory()), by=None)

    assert error.value.attr == "source_artifact_id"


def test_artifact_that_is_no_checkpoint_is_refused():
    source = RunFactory()
    config = storing.store_config(source, io.BytesIO(b"{}"))

    with pytest.raises(InvalidSource):
        resume_run(source, config, by=None)


@pytest.mark.parametrize("max_steps", [40, 39])
def test_nothing_left_to_train_is_refused(max_steps):
    source = RunFactory()

    with pytest.raises(InvalidInput, match="40"):
        resume_run(
            source,
            checkpoint(source, step=40),
            by=None,
            hyperparameters={"max_steps": max_steps},
        )


def test_archived_project_refuses_a_resumed_run():
    source = RunFactory(project__status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        resume_run(source, checkpoint(source, step=4), by=None)


# --- retry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_run_that_has_not_ended_cannot_be_retried(status):
    with pytest.raises(InvalidTransition):
        retry_run(RunFactory(status=status), by=None)


def test_failed_run_is_retried_from_its_latest_sound_checkpoint():
    run = RunFactory(status=RunStatus.FAILED)
    sound = checkpoint(run, step=20)
    damage(checkpoint(run, step=40))

    clone = retry_run(run, by=None)

    assert (clone.status, clone.resumed_from_id, clone.step) == (RunStatus.QUEUED, sound.pk, 20)
    assert clone.hyperparameters == run.hyperparameters


def test_failed_run_without_its_own_checkpoint_is_retried_from_the_one_it_resumed():
    origin = checkpoint(RunFactory(), step=20)
    run = RunFactory(status=RunStatus.FAILED, resumed_from_id=origin.pk, start_step=20, step=30)

    assert retry_run(run, by=None).resumed_from_id == origin.pk


def test_completed_run_is_retried_from_the_beginning():
    run = RunFactory(status=RunStatus.COMPLETED)
    checkpoint(run, step=100)

    clone = retry_run(run, by=None)

    assert (clone.resumed_from_id, clone.step, clone.progress) == (None, 0, 0.0)


# --- cancel ----------------------------------------------------------------------------------


def test_cancelled_run_that_never_started_keeps_a_checkpoint_of_step_zero():
    run = RunFactory()

    cancelled = cancel_run(run, by=None)

    kept = cancelled.artifacts.checkpoints().get()
    assert cancelled.status == RunStatus.CANCELLED
    assert (kept.name, kept.step) == (FINAL_CHECKPOINT_NAME, 0)
    assert kept.problem() is None
    assert kept.pk in str(cancelled.status_reason)


def test_cancelled_resumed_run_that_never_started_keeps_its_start_step():
    source = RunFactory()
    run = resume_run(source, checkpoint(source, step=40), by=None)

    cancelled = cancel_run(run, by=None)

    assert cancelled.artifacts.checkpoints().get().step == 40


def test_queued_run_whose_source_is_damaged_is_cancelled_without_a_checkpoint():
    source = RunFactory()
    kept = checkpoint(source, step=40)
    run = resume_run(source, kept, by=None)
    damage(kept)

    cancelled = cancel_run(run, by=None)

    assert cancelled.status == RunStatus.CANCELLED
    assert not cancelled.artifacts.exists()


def test_cancelled_process_that_never_started_keeps_no_checkpoint():
    run = RunFactory(recipe=RecipeFactory())

    cancelled = cancel_run(run, by=None)

    assert cancelled.status == RunStatus.CANCELLED
    assert not cancelled.artifacts.exists()
    assert "没有检查点" in str(cancelled.status_reason) or "no checkpoint" in str(
        cancelled.status_reason
    )


def test_cancelled_interrupted_process_keeps_its_latest_sound_checkpoint():
    run = RunFactory(recipe=RecipeFactory(), status=RunStatus.RUNNING)
    sound = checkpoint(run, step=20)
    damage(checkpoint(run, step=40))

    cancelled = cancel_run(run, by=None)

    sound.refresh_from_db()
    assert sound.name == FINAL_CHECKPOINT_NAME
    assert sound.pk in str(cancelled.status_reason)


def test_cancel_of_simulated_work_in_progress_ends_it_at_its_current_step():
    executor, run = SimulatedExecutor(steps_per_poll=7), running()
    executor.start(run, run.worker)
    executor.poll(run, run.worker)

    cancelled = cancel_run(run, by=None)

    assert cancelled.artifacts.checkpoints().get().step == 7
    with pytest.raises(LeaseLost):
        executor.poll(run, run.worker)


def test_cancel_is_idempotent():
    first = cancel_run(RunFactory(), by=None)

    second = cancel_run(first, by=None)

    assert (second.status, second.finished_at) == (first.status, first.finished_at)
    assert second.events.count() == 2  # requested and cancelled
    assert second.artifacts.count() == 1


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_ended_run_cannot_be_cancelled(status):
    run = RunFactory(status=status)

    with pytest.raises(InvalidTransition):
        cancel_run(run, by=None)

    assert not run.events.exists()


def test_cancel_of_a_running_process_is_a_request_to_its_worker():
    run = running(recipe=RecipeFactory())

    requested = cancel_run(run, by=None, wait_seconds=0)

    assert requested.status == RunStatus.RUNNING
    assert requested.is_stopping


@with_two_connections
@pytest.mark.parametrize("_round", range(5))
def test_concurrent_cancel_and_completion_have_one_winner(_round):
    worker = WorkerFactory()
    run = running(worker)
    finished = WorkStatus(WorkState.FINISHED, exit_code=0)

    cancelled, settled = in_parallel(
        lambda: cancel_run(Run.objects.get(pk=run.pk), by=None),
        lambda: settle(Run.objects.get(pk=run.pk), finished, worker=worker),
    )

    run.refresh_from_db()
    ends = run.events.filter(kind=EventKind.STATUS).values_list("to_status", flat=True)
    assert list(ends) == [run.status]
    if run.status == RunStatus.COMPLETED:
        assert isinstance(cancelled, InvalidTransition)
        assert settled is None
    else:
        assert run.status == cancelled.status == RunStatus.CANCELLED
        assert isinstance(settled, LeaseLost)


@with_two_connections
def test_concurrent_cancels_are_one_request():
    run = RunFactory()

    results = in_parallel(*[lambda: cancel_run(Run.objects.get(pk=run.pk), by=None)] * 3)

    assert [result.status for result in results] == [RunStatus.CANCELLED] * 3
    assert run.events.filter(kind=EventKind.STOP_REQUESTED).count() == 1
    assert run.artifacts.count() == 1


# --- the end of the work ---------------------------------------------------------------------


def test_finished_work_completes_the_run():
    run = running(progress=0.99)

    settle(run, WorkStatus(WorkState.FINISHED, exit_code=0), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.progress, run.exit_code) == (RunStatus.COMPLETED, 1.0, 0)


def test_failed_work_fails_the_run_with_its_reason():
    run = running()

    settle(run, WorkStatus(WorkState.FAILED, reason="No data.", exit_code=2), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.status_reason, run.exit_code) == (RunStatus.FAILED, "No data.", 2)


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (WorkStatus(WorkState.FAILED, exit_code=1, failure_kind="out_of_memory"), "out_of_memory"),
        (WorkStatus(WorkState.FAILED, exit_code=2), "exit_code"),
        (WorkStatus(WorkState.FAILED), "cannot_start"),
        (WorkStatus(WorkState.DIED, exit_code=137), "killed"),
    ],
)
def test_failed_run_has_its_kind_of_failure(work, kind):
    run = running(max_restarts=0)

    settle(run, work, worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.failure_kind) == (RunStatus.FAILED, kind)


def test_run_whose_restarts_are_used_up_keeps_the_last_exit_code():
    run = running(max_restarts=0)

    settle(
        run, WorkStatus(WorkState.DIED, reason="It died: Killed", exit_code=137), worker=run.worker
    )

    run.refresh_from_db()
    assert run.exit_code == 137
    assert str(run.status_reason).startswith("It died: Killed")


def test_dead_work_continues_with_another_attempt():
    run = running()

    settle(run, WorkStatus(WorkState.DIED, reason="Killed."), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.attempt, run.worker) == (RunStatus.RUNNING, 2, None)
    assert str(run.events.get().reason) == "Killed."


@pytest.mark.parametrize("work", [WorkState.STOPPED, WorkState.DIED, WorkState.FAILED])
def test_work_that_ends_after_a_cancel_is_cancelled_however_it_ended(work):
    run = running(recipe=RecipeFactory())
    kept = checkpoint(run, step=40)
    cancel_run(run, by=None, wait_seconds=0)

    settle(run, WorkStatus(work, exit_code=143), worker=run.worker)

    run.refresh_from_db()
    kept.refresh_from_db()
    assert (run.status, run.exit_code) == (RunStatus.CANCELLED, 143)
    assert kept.name == FINAL_CHECKPOINT_NAME


def test_settling_another_workers_run_is_refused():
    run = running()
    other = WorkerFactory()

    with pytest.raises(LeaseLost):
        settle(run, WorkStatus(WorkState.FINISHED), worker=other)

    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING


def test_reaped_stopping_process_is_taken_over_even_without_a_free_slot():
    run, reaper = running(recipe=RecipeFactory(), max_restarts=0), WorkerFactory()
    cancel_run(run, by=None, wait_seconds=0)
    run.refresh_from_db()

    reap(run, "Its worker died.", by=reaper)

    run.refresh_from_db()
    assert (run.status, run.worker, run.attempt) == (RunStatus.RUNNING, reaper, 2)


def test_resumed_run_inherits_the_reported_total_steps_of_its_source():
    source = RunFactory(
        recipe=Recipe.objects.get(name="char-lm"),
        hyperparameters={},
        total_steps=400,
        status=RunStatus.RUNNING,
    )
    saved = checkpoint(source, step=100)

    resumed = resume_run(source, saved, by=None)

    assert resumed.total_steps == 400
    assert resumed.progress == 0.25


def test_resumed_run_of_another_length_does_not_inherit_the_total_steps():
    source = RunFactory(
        recipe=Recipe.objects.get(name="char-lm"),
        hyperparameters={},
        total_steps=400,
        status=RunStatus.RUNNING,
    )
    saved = checkpoint(source, step=100)

    resumed = resume_run(source, saved, by=None, hyperparameters={"num_epochs": 9})

    assert resumed.total_steps is None
