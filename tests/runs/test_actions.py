"""Start, resume, retry, cancel, and the end of the work."""

import io

import pytest

from artifacts.models import FINAL_CHECKPOINT_NAME
from projects.models import Project, ProjectArchived, ProjectStatus
from runs.actions import (
    InvalidSource,
    cancel_run,
    create_run,
    reap,
    resume_run,
    retry_run,
    settle,
)
from runs.executors.base import Observation, Work
from runs.executors.simulated import SimulatedExecutor
from runs.models import EventKind, Recipe, Run
from runs.models.run import LeaseLost
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
from trainhub.exceptions import InvalidInput

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- create ----------------------------------------------------------------------------------


def test_hyperparameters_of_recipe_project_and_request_overlay_each_other():
    recipe = RecipeFactory(default_hyperparameters={"a": "recipe", "b": "recipe", "c": "recipe"})
    project = ProjectFactory(default_hyperparameters={"b": "project", "c": "project"})

    run = create_run(project, by=None, recipe=recipe, hyperparameters={"c": "request"})

    assert run.hyperparameters == {"a": "recipe", "b": "project", "c": "request"}


def test_run_is_queued_and_its_making_noted():
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


def test_run_pins_the_version_it_was_made_from():
    project = ProjectFactory()
    project.revise({"default_hyperparameters": {"max_steps": 7}}, by=None)
    stale = Project.objects.get(pk=project.pk)
    project.revise({"default_hyperparameters": {"max_steps": 9}}, by=None)

    run = create_run(stale, by=None)

    assert (run.project_version, run.hyperparameters) == (3, {"max_steps": 9})


def test_archived_project_takes_no_run_and_counts_none():
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        create_run(project, by=None)

    project.refresh_from_db()
    assert (project.run_count, project.runs.count()) == (0, 0)


def test_refused_hyperparameters_leave_nothing_behind():
    project = ProjectFactory()

    with pytest.raises(InvalidInput):
        create_run(project, by=None, hyperparameters={"max_steps": -1})

    project.refresh_from_db()
    assert (project.run_count, project.runs.count()) == (0, 0)


def test_without_a_default_recipe_one_must_be_named():
    Recipe.objects.update(is_default=False)

    with pytest.raises(InvalidInput) as error:
        create_run(ProjectFactory(), by=None)

    assert error.value.attr == "recipe"


@with_two_connections
def test_runs_made_at_once_are_numbered_without_a_gap():
    project = ProjectFactory()

    def create():
        return create_run(Project.objects.get(pk=project.pk), by=None).name

    names = in_parallel(*[create] * 8)

    assert sorted(names) == [f"run-{number:03d}" for number in range(1, 9)]
    project.refresh_from_db()
    assert project.run_count == 8


@with_two_connections
def test_project_archived_meanwhile_takes_no_run():
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
    assert run.resumed_from == kept
    assert run.started_at is not None
    assert run.worker is None
    assert run.events.get().to_status == RunStatus.RUNNING


def test_resumed_run_clones_the_source_overlaid():
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
    assert run.resources == {"gpu_type": "A100", "gpu_count": 2}
    assert (run.model, run.dataset, run.priority) == (source.model, source.dataset, 3)
    assert run.progress == 0.5


def test_checkpoint_of_another_run_of_the_project_will_do():
    source = RunFactory()
    sibling = RunFactory(project=source.project)

    assert resume_run(source, checkpoint(sibling, step=7), by=None).step == 7


def test_checkpoint_of_another_project_is_refused():
    with pytest.raises(InvalidSource) as error:
        resume_run(RunFactory(), checkpoint(RunFactory()), by=None)

    assert error.value.attr == "source_artifact_id"


def test_what_is_no_checkpoint_is_refused():
    source = RunFactory()
    config = source.artifacts.store_config(source, io.BytesIO(b"{}"))

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


def test_archived_project_takes_no_resumed_run():
    source = RunFactory(project__status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        resume_run(source, checkpoint(source, step=4), by=None)


# --- retry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_run_that_is_not_over_cannot_be_retried(status):
    with pytest.raises(InvalidTransition):
        retry_run(RunFactory(status=status), by=None)


def test_failed_run_is_retried_from_its_latest_sound_checkpoint():
    run = RunFactory(status=RunStatus.FAILED)
    sound = checkpoint(run, step=20)
    damage(checkpoint(run, step=40))

    clone = retry_run(run, by=None)

    assert (clone.status, clone.resumed_from, clone.step) == (RunStatus.QUEUED, sound, 20)
    assert clone.hyperparameters == run.hyperparameters


def test_failed_run_without_a_checkpoint_of_its_own_is_retried_from_where_it_began():
    origin = checkpoint(RunFactory(), step=20)
    run = RunFactory(status=RunStatus.FAILED, resumed_from=origin, start_step=20, step=30)

    assert retry_run(run, by=None).resumed_from == origin


def test_completed_run_is_retried_from_the_beginning():
    run = RunFactory(status=RunStatus.COMPLETED)
    checkpoint(run, step=100)

    clone = retry_run(run, by=None)

    assert (clone.resumed_from, clone.step, clone.progress) == (None, 0, 0.0)


# --- cancel ----------------------------------------------------------------------------------


def test_run_that_never_started_keeps_a_checkpoint_of_step_zero():
    run = RunFactory()

    cancelled = cancel_run(run, by=None)

    kept = cancelled.artifacts.checkpoints().get()
    assert cancelled.status == RunStatus.CANCELLED
    assert (kept.name, kept.step) == (FINAL_CHECKPOINT_NAME, 0)
    assert kept.problem() is None
    assert kept.pk in cancelled.status_reason


def test_resumed_run_that_never_started_keeps_the_step_it_would_have_gone_on_from():
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


def test_process_that_never_started_keeps_none_and_says_so():
    run = RunFactory(recipe=RecipeFactory())

    cancelled = cancel_run(run, by=None)

    assert cancelled.status == RunStatus.CANCELLED
    assert not cancelled.artifacts.exists()
    assert "没有检查点" in cancelled.status_reason or "no checkpoint" in cancelled.status_reason


def test_interrupted_process_keeps_its_latest_sound_checkpoint():
    run = RunFactory(recipe=RecipeFactory(), status=RunStatus.RUNNING)
    sound = checkpoint(run, step=20)
    damage(checkpoint(run, step=40))

    cancelled = cancel_run(run, by=None)

    sound.refresh_from_db()
    assert sound.name == FINAL_CHECKPOINT_NAME
    assert sound.pk in cancelled.status_reason


def test_cancel_of_simulated_work_in_progress_ends_it_at_its_very_step():
    executor, run = SimulatedExecutor(steps_a_poll=7), running()
    executor.start(run, run.worker)
    executor.poll(run, run.worker)

    cancelled = cancel_run(run, by=None)

    assert cancelled.artifacts.checkpoints().get().step == 7
    with pytest.raises(LeaseLost):
        executor.poll(run, run.worker)


def test_cancel_twice_is_the_same_answer():
    first = cancel_run(RunFactory(), by=None)

    second = cancel_run(first, by=None)

    assert (second.status, second.finished_at) == (first.status, first.finished_at)
    assert second.events.count() == 2  # asked, and done
    assert second.artifacts.count() == 1


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_what_is_over_cannot_be_cancelled(status):
    run = RunFactory(status=status)

    with pytest.raises(InvalidTransition):
        cancel_run(run, by=None)

    assert not run.events.exists()


def test_cancel_of_a_process_at_work_is_a_request_that_its_worker_fulfils():
    run = running(recipe=RecipeFactory())

    asked = cancel_run(run, by=None, wait_seconds=0)

    assert asked.status == RunStatus.RUNNING
    assert asked.is_stopping


@with_two_connections
@pytest.mark.parametrize("_round", range(5))
def test_cancel_and_completion_at_once_have_one_winner_and_the_answer_is_true(_round):
    worker = WorkerFactory()
    run = running(worker)
    finished = Observation(Work.FINISHED, exit_code=0)

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
def test_two_cancels_at_once_are_one():
    run = RunFactory()

    results = in_parallel(*[lambda: cancel_run(Run.objects.get(pk=run.pk), by=None)] * 3)

    assert [result.status for result in results] == [RunStatus.CANCELLED] * 3
    assert run.events.filter(kind=EventKind.STOP_REQUESTED).count() == 1
    assert run.artifacts.count() == 1


# --- the end of the work ---------------------------------------------------------------------


def test_finished_work_completes_the_run():
    run = running(progress=0.99)

    settle(run, Observation(Work.FINISHED, exit_code=0), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.progress, run.exit_code) == (RunStatus.COMPLETED, 1.0, 0)


def test_failed_work_fails_the_run_with_its_reason():
    run = running()

    settle(run, Observation(Work.FAILED, reason="No data.", exit_code=2), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.status_reason, run.exit_code) == (RunStatus.FAILED, "No data.", 2)


def test_dead_work_goes_on_with_another_attempt():
    run = running()

    settle(run, Observation(Work.DIED, reason="Killed."), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.attempt, run.worker) == (RunStatus.RUNNING, 2, None)
    assert run.events.get().reason == "Killed."


@pytest.mark.parametrize("work", [Work.STOPPED, Work.DIED, Work.FAILED])
def test_work_that_ends_after_a_cancel_is_cancelled_however_it_ended(work):
    run = running(recipe=RecipeFactory())
    kept = checkpoint(run, step=40)
    cancel_run(run, by=None, wait_seconds=0)

    settle(run, Observation(work, exit_code=143), worker=run.worker)

    run.refresh_from_db()
    kept.refresh_from_db()
    assert (run.status, run.exit_code) == (RunStatus.CANCELLED, 143)
    assert kept.name == FINAL_CHECKPOINT_NAME


def test_settling_what_is_no_longer_ours_is_refused():
    run = running()
    other = WorkerFactory()

    with pytest.raises(LeaseLost):
        settle(run, Observation(Work.FINISHED), worker=other)

    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING


def test_reaped_process_that_was_to_stop_is_taken_over_seat_or_not():
    run, reaper = running(recipe=RecipeFactory(), max_restarts=0), WorkerFactory()
    cancel_run(run, by=None, wait_seconds=0)
    run.refresh_from_db()

    reap(run, "Its worker died.", by=reaper)

    run.refresh_from_db()
    assert (run.status, run.worker, run.attempt) == (RunStatus.RUNNING, reaper, 2)


def test_resumed_run_knows_the_length_that_its_source_has_reported():
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


def test_resumed_run_of_another_length_does_not_take_its_sources():
    source = RunFactory(
        recipe=Recipe.objects.get(name="char-lm"),
        hyperparameters={},
        total_steps=400,
        status=RunStatus.RUNNING,
    )
    saved = checkpoint(source, step=100)

    resumed = resume_run(source, saved, by=None, hyperparameters={"num_epochs": 9})

    assert resumed.total_steps is None
