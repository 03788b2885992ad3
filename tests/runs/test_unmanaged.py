"""The lifecycle of unmanaged runs."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from artifacts.uploads import store
from execution.worker import WorkerLoop
from metrics.points import Point, Points
from metrics.recording import record_points
from projects.models import ProjectArchived, ProjectStatus
from runs import inputs, params_tags, unmanaged
from runs.actions import cancel_run, resume_run
from runs.models import EventKind, Recipe, Run
from runs.status import TERMINAL, RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint, running

pytestmark = pytest.mark.django_db
THEN = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def report(run: Run, status: RunStatus, **fields) -> Run:
    unmanaged.report_status(run, status, by=None, **fields)
    return Run.objects.get(pk=run.pk)


def ended(status: RunStatus = RunStatus.COMPLETED) -> Run:
    return RunFactory(recipe=None, status=status)


def test_new_run_is_running_without_a_recipe():
    project, user = ProjectFactory(), UserFactory()

    run = unmanaged.create_unmanaged_run(project, by=user, tags={"a": "1"}, started_at=THEN)

    assert (run.status, run.recipe, run.is_unmanaged) == (RunStatus.RUNNING, None, True)
    assert (run.name, run.tags, run.started_at) == ("run-001", {"a": "1"}, THEN)
    assert run.hyperparameters == {}
    event = run.events.get()
    assert (event.kind, event.to_status, event.actor) == ("created", RunStatus.RUNNING, user)


def test_new_run_may_have_a_name_and_a_long_one_is_truncated():
    project = ProjectFactory()

    assert unmanaged.create_unmanaged_run(project, by=None, name=" bold-fox ").name == "bold-fox"
    assert len(unmanaged.create_unmanaged_run(project, by=None, name="x" * 300).name) == 200


def test_archived_project_refuses_a_new_run():
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        unmanaged.create_unmanaged_run(project, by=None)
    assert not Run.objects.exists()


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_end_has_the_reported_status_and_time(status):
    run = unmanaged.create_unmanaged_run(ProjectFactory(), by=None)

    run = report(run, status, finished_at=THEN)

    assert (run.status, run.finished_at) == (status, THEN)


def test_completed_run_has_full_progress():
    run = unmanaged.create_unmanaged_run(ProjectFactory(), by=None)

    assert report(run, RunStatus.COMPLETED).progress == 1.0


def test_end_reported_twice_is_one_event():
    run = unmanaged.create_unmanaged_run(ProjectFactory(), by=None)

    run = report(run, RunStatus.COMPLETED)
    run = report(run, RunStatus.COMPLETED)

    assert run.events.filter(kind=EventKind.STATUS).count() == 1


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_ended_run_continues_as_another_attempt(status):
    run = report(ended(status), RunStatus.RUNNING)

    assert (run.status, run.finished_at, run.attempt) == (RunStatus.RUNNING, None, 2)
    event = run.events.get()
    assert (event.kind, event.from_status, event.to_status, event.attempt) == (
        "reopened",
        status,
        RunStatus.RUNNING,
        2,
    )


def test_script_may_correct_the_end_of_a_lost_run():
    assert report(ended(RunStatus.FAILED), RunStatus.COMPLETED).status == RunStatus.COMPLETED


def test_run_cancelled_by_a_user_stays_cancelled_until_it_continues():
    run = unmanaged.create_unmanaged_run(ProjectFactory(), by=None)
    run = cancel_run(run, by=UserFactory())

    run = report(run, RunStatus.COMPLETED)
    assert run.status == RunStatus.CANCELLED

    run = report(run, RunStatus.RUNNING)
    assert (run.status, run.stop_requested_at, run.stop_kind) == (RunStatus.RUNNING, None, "")


@pytest.mark.parametrize("status", RunStatus)
def test_reported_status_of_a_workers_run_is_ignored(status):
    run = running()

    run = report(run, status)

    assert run.status == RunStatus.RUNNING
    assert run.worker is not None
    assert not run.events.exists()


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_ended_run_of_a_worker_is_not_reopened(status):
    assert report(RunFactory(status=status), RunStatus.RUNNING).status == status


# --- the trash -------------------------------------------------------------------------------


def test_run_in_the_trash_is_not_kept_until_restored():
    run, user = ended(), UserFactory()

    run.move_to_trash(by=user)
    run.move_to_trash(by=user)
    assert not Run.objects.kept().exists()

    run.restore(by=user)
    assert Run.objects.kept().get() == run
    assert list(run.events.values_list("kind", "actor")) == [
        ("deleted", user.pk),
        ("restored", user.pk),
    ]


# --- silent and lost runs --------------------------------------------------------------------


def silent(seconds: float, **fields: Any) -> Run:
    reported_at = timezone.now() - timedelta(seconds=seconds)
    fields = {"recipe": None, "status": RunStatus.RUNNING, "reported_at": reported_at, **fields}
    return RunFactory(**fields)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def test_run_that_is_silent_for_too_long_is_marked_as_lost(settings: Settings):
    settings.UNMANAGED_LOST_SECONDS = 600
    lost, other = silent(601), silent(599)

    unmanaged.update_lost_runs()

    assert fresh(lost).status == RunStatus.FAILED
    assert fresh(lost).lost_at is not None
    event = lost.events.get(kind=EventKind.LOST)
    assert "10" in str(event.reason)
    assert fresh(other).status == RunStatus.RUNNING


def test_silent_run_of_a_worker_is_not_marked_as_lost():
    run = silent(1e6, recipe=Recipe.objects.get(name="simulated"))

    unmanaged.update_lost_runs()

    assert fresh(run).status == RunStatus.RUNNING


def test_lost_run_that_reports_again_is_reopened():
    run = silent(1e6)
    unmanaged.update_lost_runs()

    unmanaged.update_lost_runs()
    assert fresh(run).status == RunStatus.FAILED
    record_points(run.pk, Points.of([Point("loss", 1, 0.5, 0)]))
    unmanaged.update_lost_runs()

    run = fresh(run)
    assert (run.status, run.lost_at, run.finished_at) == (RunStatus.RUNNING, None, None)
    assert run.attempt == 1
    assert run.events.filter(kind=EventKind.REOPENED).count() == 1


def test_lost_run_may_still_report_its_end():
    run = silent(1e6)
    unmanaged.update_lost_runs()

    run = report(run, RunStatus.COMPLETED)

    assert (run.status, run.lost_at) == (RunStatus.COMPLETED, None)


def test_tags_params_data_and_files_count_as_reports():
    for send_report in (
        lambda run: params_tags.set_tags(run.pk, {"a": "1"}),
        lambda run: params_tags.log_params(run.pk, {"a": "1"}),
        lambda run: inputs.log_inputs(run.pk, [{"name": "text", "digest": "1"}]),
        lambda run: store(run, "a.txt", io.BytesIO(b"x")),
    ):
        run = silent(1000)

        send_report(run)

        assert fresh(run).silent_since is None


def test_worker_marks_silent_unmanaged_runs_as_lost():
    run = silent(1e6)
    loop = WorkerLoop(name="one")
    loop.register()

    loop.tick()

    assert fresh(run).status == RunStatus.FAILED


# --- lists -----------------------------------------------------------------------------------


def test_run_in_the_trash_is_not_listed_but_has_a_page(client):
    run = ended()
    run.move_to_trash(by=None)
    project = f"/projects/{run.project_id}"
    at = {"SERVER_NAME": "localhost"}

    assert client.get(f"{project}/runs", **at).json() == []
    assert client.get(project, **at).json()["runs"] == []
    assert run.name not in client.get(f"/dashboard{project}", **at).content.decode()
    assert client.get(f"{project}/runs/{run.pk}", **at).status_code == 200


# --- resuming with a recipe ------------------------------------------------------------------


def test_unmanaged_run_is_resumed_by_a_recipe_with_its_reported_params():
    reported = {"learning_rate": "3e-5", "max_steps": "-1", "seed": "7", "note": "7"}
    source = RunFactory(recipe=None, status=RunStatus.FAILED, hyperparameters=reported)
    recipe = Recipe.objects.get(name="simulated")

    run = resume_run(source, checkpoint(source, step=10), by=None, recipe=recipe)

    assert run.hyperparameters == {"learning_rate": 3e-5, "seed": 7, "note": "7"}
