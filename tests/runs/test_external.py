"""Runs of scripts started elsewhere: from their first word to their last, and on again."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from artifacts.uploads import store
from projects.models import ProjectArchived, ProjectStatus
from runs import external, reports
from runs.actions import cancel_run, resume_run
from runs.ingestion import record_points
from runs.models import EventKind, Recipe, Run
from runs.points import Point, Points
from runs.status import TERMINAL, RunStatus
from runs.worker import WorkerLoop
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint, running

pytestmark = pytest.mark.django_db
THEN = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def report(run: Run, status: RunStatus, **fields) -> Run:
    external.report_status(run, status, by=None, **fields)
    return Run.objects.get(pk=run.pk)


def ended(status: RunStatus = RunStatus.COMPLETED) -> Run:
    return RunFactory(recipe=None, status=status)


def test_new_run_is_running_without_a_recipe():
    project, user = ProjectFactory(), UserFactory()

    run = external.create_external_run(project, by=user, tags={"a": "1"}, started_at=THEN)

    assert (run.status, run.recipe, run.is_external) == (RunStatus.RUNNING, None, True)
    assert (run.name, run.tags, run.started_at) == ("run-001", {"a": "1"}, THEN)
    assert run.hyperparameters == {}
    event = run.events.get()
    assert (event.kind, event.to_status, event.actor) == ("created", RunStatus.RUNNING, user)


def test_new_run_may_have_a_name_and_a_long_one_is_cut():
    project = ProjectFactory()

    assert external.create_external_run(project, by=None, name=" bold-fox ").name == "bold-fox"
    assert len(external.create_external_run(project, by=None, name="x" * 300).name) == 200


def test_archived_project_takes_no_run():
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    with pytest.raises(ProjectArchived):
        external.create_external_run(project, by=None)
    assert not Run.objects.exists()


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_end_is_the_one_that_the_script_reports_at_its_time(status):
    run = external.create_external_run(ProjectFactory(), by=None)

    run = report(run, status, finished_at=THEN)

    assert (run.status, run.finished_at) == (status, THEN)


def test_completed_run_has_made_all_its_progress():
    run = external.create_external_run(ProjectFactory(), by=None)

    assert report(run, RunStatus.COMPLETED).progress == 1.0


def test_end_reported_twice_is_one_event():
    run = external.create_external_run(ProjectFactory(), by=None)

    run = report(run, RunStatus.COMPLETED)
    run = report(run, RunStatus.COMPLETED)

    assert run.events.filter(kind=EventKind.STATUS).count() == 1


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_ended_run_goes_on_as_another_attempt(status):
    run = report(ended(status), RunStatus.RUNNING)

    assert (run.status, run.finished_at, run.attempt) == (RunStatus.RUNNING, None, 2)
    event = run.events.get()
    assert (event.kind, event.from_status, event.to_status, event.attempt) == (
        "reopened",
        status,
        RunStatus.RUNNING,
        2,
    )


def test_end_of_a_lost_run_may_be_corrected():
    assert report(ended(RunStatus.FAILED), RunStatus.COMPLETED).status == RunStatus.COMPLETED


def test_run_that_somebody_cancelled_stays_cancelled_until_it_goes_on():
    run = external.create_external_run(ProjectFactory(), by=None)
    run = cancel_run(run, by=UserFactory())

    run = report(run, RunStatus.COMPLETED)
    assert run.status == RunStatus.CANCELLED

    run = report(run, RunStatus.RUNNING)
    assert (run.status, run.stop_requested_at, run.stop_kind) == (RunStatus.RUNNING, None, "")


@pytest.mark.parametrize("status", RunStatus)
def test_of_a_workers_run_a_report_is_a_hint(status):
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


# --- silence ---------------------------------------------------------------------------------


def silent(seconds: float, **fields: Any) -> Run:
    heard = timezone.now() - timedelta(seconds=seconds)
    fields = {"recipe": None, "status": RunStatus.RUNNING, "reported_at": heard, **fields}
    return RunFactory(**fields)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def test_silence_shows_when_it_is_longer_than_usual(settings: Settings):
    settings.EXTERNAL_SILENT_SECONDS = 60

    assert silent(30).silent_since is None
    assert (run := silent(90)).silent_since == run.reported_at
    assert silent(90, status=RunStatus.COMPLETED).silent_since is None
    assert silent(90, recipe=Recipe.objects.get(name="simulated")).silent_since is None


def test_who_is_silent_for_too_long_is_lost_and_says_why(settings: Settings):
    settings.EXTERNAL_LOST_SECONDS = 600
    lost, other = silent(601), silent(599)

    external.watch()

    assert fresh(lost).status == RunStatus.FAILED
    assert fresh(lost).lost_at is not None
    event = lost.events.get(kind=EventKind.LOST)
    assert "10" in event.reason
    assert fresh(other).status == RunStatus.RUNNING


def test_run_of_a_worker_is_never_lost_for_its_silence():
    run = silent(1e6, recipe=Recipe.objects.get(name="simulated"))

    external.watch()

    assert fresh(run).status == RunStatus.RUNNING


def test_lost_run_that_is_heard_of_again_goes_on():
    run = silent(1e6)
    external.watch()

    external.watch()
    assert fresh(run).status == RunStatus.FAILED
    record_points(run.pk, Points.of([Point("loss", 1, 0.5, 0)]))
    external.watch()

    run = fresh(run)
    assert (run.status, run.lost_at, run.finished_at) == (RunStatus.RUNNING, None, None)
    assert run.attempt == 1
    assert run.events.filter(kind=EventKind.REOPENED).count() == 1


def test_lost_run_may_still_say_how_it_ended():
    run = silent(1e6)
    external.watch()

    run = report(run, RunStatus.COMPLETED)

    assert (run.status, run.lost_at) == (RunStatus.COMPLETED, None)


def test_tags_params_data_and_files_are_signs_of_life():
    for report_something in (
        lambda run: reports.set_tags(run.pk, {"a": "1"}),
        lambda run: reports.log_params(run.pk, {"a": "1"}),
        lambda run: reports.log_inputs(run.pk, [{"name": "text", "digest": "1"}]),
        lambda run: store(run, "a.txt", io.BytesIO(b"x")),
    ):
        run = silent(1000)

        report_something(run)

        assert fresh(run).silent_since is None


def test_worker_watches_over_scripts_started_elsewhere():
    run = silent(1e6)
    loop = WorkerLoop(name="one")
    loop.register()

    loop.tick()

    assert fresh(run).status == RunStatus.FAILED


# --- lists -----------------------------------------------------------------------------------


def test_lists_leave_out_the_trash_and_its_page_is_still_there(client):
    run = ended()
    run.move_to_trash(by=None)
    project = f"/projects/{run.project_id}"
    at = {"SERVER_NAME": "localhost"}

    assert client.get(f"{project}/runs", **at).json() == []
    assert client.get(project, **at).json()["runs"] == []
    assert run.name not in client.get(f"/dashboard{project}", **at).content.decode()
    assert client.get(f"{project}/runs/{run.pk}", **at).status_code == 200


# --- going on with it here -------------------------------------------------------------------


def test_checkpoint_of_a_script_is_resumed_by_a_recipe_with_what_it_reported():
    reported = {"learning_rate": "3e-5", "max_steps": "-1", "seed": "7", "note": "7"}
    source = RunFactory(recipe=None, status=RunStatus.FAILED, hyperparameters=reported)
    recipe = Recipe.objects.get(name="simulated")

    run = resume_run(source, checkpoint(source, step=10), by=None, recipe=recipe)

    assert run.hyperparameters == {"learning_rate": 3e-5, "seed": 7, "note": "7"}
