"""Indexing the runs that have ended: when, what, and what undoes it."""

import math
import threading

import pytest
from django.db import connection, transaction

from metrics import recording, run_index
from metrics import run_index_queries as queries
from metrics.models import MetricValue
from metrics.point_queries import create_series
from metrics.points import Point, Points
from metrics.recording import record_points
from metrics.run_index import index_runs
from projects.models import ProjectStatus
from runs import params_tags, trash, unmanaged
from runs.models import ParamValue, Run, RunColumn
from runs.param_values import MAX_TEXT
from runs.status import RunStatus
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import ProjectFactory, RunFactory, running, unmanaged_run
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def ended_run(**fields):
    return RunFactory(status=RunStatus.COMPLETED, **fields)


def push(run, *values, key="loss", first=1):
    record_points(run.pk, Points.of([Point(key, first + n, v, n) for n, v in enumerate(values)]))


def params_of(run):
    rows = ParamValue.objects.filter(run=run)
    return {
        key: (number, text)
        for key, number, text in rows.values_list("column__key", "number", "text")
    }


def metrics_of(run):
    rows = MetricValue.objects.filter(run=run)
    return {
        key: rest for key, *rest in rows.values_list("column__key", "last", "minimum", "maximum")
    }


def is_indexed(run):
    return Run.objects.values_list("is_indexed", flat=True).get(pk=run.pk)


# --- what is indexed -------------------------------------------------------------------------


def test_run_that_has_ended_is_indexed_with_its_params_and_metrics():
    run = ended_run(hyperparameters={"lr": 0.0003, "optimizer": "adamw"})
    push(run, 3.0, 1.0, 2.0)

    assert index_runs() == 1

    assert is_indexed(run)
    assert params_of(run) == {"lr": (0.0003, "0.0003"), "optimizer": (None, "adamw")}
    assert metrics_of(run) == {"loss": [2.0, 1.0, 3.0]}


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_run_that_has_failed_or_was_cancelled_is_indexed(status):
    run = RunFactory(status=status)

    index_runs()

    assert is_indexed(run)


def test_active_run_is_not_indexed():
    runs = [running(), RunFactory(status=RunStatus.QUEUED)]

    assert index_runs() == 0
    assert not any(is_indexed(run) for run in runs)


def test_hidden_run_is_not_indexed():
    unmanaged.create_keeper(ProjectFactory(), by=None, name="files")

    assert index_runs() == 0


def test_run_is_indexed_once():
    ended_run()
    index_runs()

    assert index_runs() == 0


def test_more_runs_than_a_batch_are_indexed(monkeypatch):
    monkeypatch.setattr(run_index, "RUNS_PER_BATCH", 2)
    project = ProjectFactory()
    for _ in range(5):
        ended_run(project=project)

    assert index_runs() == 5


def test_time_limit_is_kept_between_batches(monkeypatch):
    monkeypatch.setattr(run_index, "RUNS_PER_BATCH", 2)
    project = ProjectFactory()
    for _ in range(5):
        ended_run(project=project)

    assert index_runs(seconds=0) == 2


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ("3e-4", 0.0003, "3e-4"),
        (32, 32.0, "32"),
        (-0.5, -0.5, "-0.5"),
        (".5", 0.5, ".5"),
        ("+1.", 1.0, "+1."),
        ("0x10", None, "0x10"),
        ("1e999", None, "1e999"),
        ("nan", None, "nan"),
        ("1\n", None, "1\n"),
        ("9" * 201, None, "9" * MAX_TEXT),
        ("", None, ""),
        (True, None, "true"),
        ([1, 2], None, "[1, 2]"),
        ("长" * 300, None, "长" * MAX_TEXT),
    ],
)
def test_value_of_a_param_is_a_number_or_text(value, number, text):
    run = ended_run(hyperparameters={"value": value})

    index_runs()

    assert params_of(run) == {"value": (number, text)}


def test_param_that_is_null_has_no_value():
    run = ended_run(hyperparameters={"value": None})

    index_runs()

    assert params_of(run) == {}


def test_metric_whose_values_are_all_nan_has_neither_minimum_nor_maximum():
    run = ended_run()
    push(run, math.nan, math.nan)

    index_runs()

    last, minimum, maximum = metrics_of(run)["loss"]
    assert math.isnan(last)
    assert (minimum, maximum) == (None, None)


def test_metric_without_points_has_no_value():
    run = ended_run()
    create_series(run.pk, ["loss"])

    index_runs()

    assert metrics_of(run) == {}


def test_projects_have_columns_of_their_own():
    one, other = ended_run(hyperparameters={"lr": 1}), ended_run(hyperparameters={"lr": 2})

    index_runs()

    columns = RunColumn.objects.filter(key="lr").values_list("project", flat=True)
    assert sorted(columns) == sorted([one.project_id, other.project_id])


# --- what undoes it --------------------------------------------------------------------------


def late_point(run):
    push(run, 9.0, first=5)


def point_of_an_earlier_step(run):
    push(run, 9.0, first=0)


def param(run):
    params_tags.log_params(run.pk, {"new": "1"})


def rewind(run):
    with transaction.atomic():
        recording.rewind(Run.objects.lock(run.pk), 1)


def deleted_points(run):
    with transaction.atomic():
        recording.delete_points(Run.objects.lock(run.pk), Points.of([Point("loss", 2, 2.0, 1)]))


def trashed(run):
    run.move_to_trash(by=None)


CHANGES = [late_point, point_of_an_earlier_step, param, rewind, deleted_points, trashed]


@pytest.mark.parametrize("change", CHANGES)
def test_run_that_changes_after_its_end_is_indexed_anew(change):
    run = ended_run(recipe=None, hyperparameters={"lr": "1"})
    push(run, 1.0, 2.0)
    index_runs()

    change(run)

    assert not is_indexed(run)
    assert index_runs() == 1
    current = Run.objects.get(pk=run.pk)
    if current.deleted_at is None:
        assert {key: text for key, (_n, text) in params_of(run).items()} == current.hyperparameters
        assert {key: last for key, (last, *_) in metrics_of(run).items()} == current.metrics
    else:
        assert params_of(run) == metrics_of(run) == {}


def test_tag_leaves_a_run_indexed():
    run = ended_run(recipe=None)
    index_runs()

    params_tags.set_tags(run.pk, {"team": "nlp"})

    assert is_indexed(run)


def test_run_that_continues_is_indexed_when_it_has_ended_again():
    run = unmanaged_run()
    push(run, 1.0)
    run.transition(RunStatus.COMPLETED)
    index_runs()
    with transaction.atomic():
        unmanaged.report_status(Run.objects.lock(run.pk), RunStatus.RUNNING, by=None)
    push(run, 5.0, first=2)

    assert index_runs() == 0
    Run.objects.get(pk=run.pk).transition(RunStatus.COMPLETED)
    assert index_runs() == 1

    assert metrics_of(run) == {"loss": [5.0, 1.0, 5.0]}


def test_restored_run_is_indexed_anew():
    run = ended_run(hyperparameters={"lr": 1})
    run.move_to_trash(by=None)
    index_runs()

    run.restore(by=None)
    index_runs()

    assert params_of(run) == {"lr": (1.0, "1")}


def test_runs_of_a_deleted_project_have_no_values_until_it_is_reopened():
    run = ended_run(hyperparameters={"lr": 1})
    index_runs()
    trash.delete_with_runs(run.project, by=None)
    index_runs()
    assert params_of(run) == {}

    run.project.set_status(ProjectStatus.ACTIVE)
    index_runs()

    assert params_of(run) == {"lr": (1.0, "1")}


def test_values_are_deleted_with_their_run():
    run = ended_run(hyperparameters={"lr": 1})
    push(run, 1.0)
    index_runs()

    run.delete()

    assert not ParamValue.objects.exists()
    assert not MetricValue.objects.exists()


def test_points_of_an_active_run_change_no_index():
    """PostgreSQL then writes a new version of the row alone (HOT)."""
    run = running()
    push(run, 1.0)
    before = hot_updates()

    push(run, 2.0, first=2)

    assert hot_updates() == before + 1


def hot_updates():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_get_xact_tuples_hot_updated('runs_run'::regclass)")
        return cursor.fetchone()[0]


# --- concurrency -----------------------------------------------------------------------------


@with_two_connections
def test_workers_index_different_runs_at_the_same_time(monkeypatch):
    monkeypatch.setattr(run_index, "RUNS_PER_BATCH", 3)
    project = ProjectFactory()
    runs = [ended_run(project=project, hyperparameters={f"p{n % 4}": n}) for n in range(30)]
    for run in runs:
        push(run, 1.0)

    counts = in_parallel(*[lambda: index_runs(seconds=60)] * 3)

    index_runs()  # what was locked when all had looked
    assert all(isinstance(count, int) for count in counts), counts
    assert ParamValue.objects.count() == MetricValue.objects.count() == 30
    assert not Run.objects.filter(is_indexed=False).exists()


@with_two_connections
def test_run_that_another_worker_indexes_is_left_to_it():
    runs = [ended_run(), ended_run()]

    with transaction_elsewhere(lambda: queries.lock_runs(1)) as locked:
        assert index_runs() == 1
        assert [is_indexed(run) for run in runs] == [run.pk != locked[0][0] for run in runs]


@with_two_connections
def test_point_that_arrives_during_the_indexing_is_not_lost():
    """The point waits for the run's row; what was copied meanwhile is outdated at once."""
    run = ended_run()
    push(run, 1.0)

    def index():
        assert run_index._index_batch() == 1

    with transaction_elsewhere(index):
        late = threading.Thread(target=lambda: in_parallel(lambda: push(run, 7.0, first=2)))
        late.start()
        wait_until(lambda: waiting_for_locks() == 1)
    late.join()

    assert not is_indexed(run)
    index_runs()
    assert metrics_of(run) == {"loss": [7.0, 1.0, 7.0]}


@with_two_connections
def test_run_whose_point_is_being_stored_is_indexed_later():
    run = ended_run()

    with transaction_elsewhere(lambda: push(run, 7.0)):
        assert index_runs() == 0

    assert index_runs() == 1
    assert metrics_of(run) == {"loss": [7.0, 7.0, 7.0]}


def waiting_for_locks():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return cursor.fetchone()[0]
