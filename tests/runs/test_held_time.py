"""For how long workers have held a run."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection

from runs import attempts
from runs.held_time import HELD_SECONDS, held_so_far, held_time
from runs.models import EventKind, Run, RunEvent
from runs.models.held_time_queries import count_held_time
from runs.status import RunStatus
from tests.factories import RunFactory, WorkerFactory, running, unmanaged_run

pytestmark = pytest.mark.django_db

START = datetime(2026, 5, 31, 12, tzinfo=UTC)


def hour(number):
    return START + timedelta(hours=number)


def event(run, kind, at, to_status=""):
    row = RunEvent.objects.create(run=run, kind=kind, to_status=to_status, attempt=1)
    RunEvent.objects.filter(pk=row.pk).update(created_at=at)


def hours(run, *, until=100):
    return held_time(run, until=hour(until)) / timedelta(hours=1)


@pytest.mark.parametrize("leaving", [EventKind.RECOVERED, EventKind.RELEASED])
def test_time_in_the_queue_between_attempts_does_not_count(leaving):
    run = RunFactory(
        status=RunStatus.COMPLETED, queued_at=START, started_at=hour(1), finished_at=hour(9)
    )
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(run, leaving, hour(3))
    event(run, EventKind.CLAIMED, hour(7))
    event(run, EventKind.STATUS, hour(9), RunStatus.COMPLETED)

    assert hours(run) == 4


def test_run_at_work_counts_up_to_the_time_asked_for():
    run = running(started_at=hour(1))
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)

    assert hours(run, until=3) == 2


def test_what_came_after_the_time_asked_for_does_not_count():
    run = RunFactory(status=RunStatus.FAILED, started_at=hour(1), finished_at=hour(9))
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(run, EventKind.STATUS, hour(5), RunStatus.FAILED)

    assert hours(run, until=2) == 1
    assert hours(run, until=0) == 0


def test_events_that_change_no_worker_do_not_count():
    run = running(started_at=hour(1))
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(run, EventKind.RENAMED, hour(2))
    event(run, EventKind.STOP_REQUESTED, hour(3))

    assert hours(run, until=4) == 3


def test_run_that_never_had_a_worker_counts_from_its_start():
    assert hours(unmanaged_run(started_at=hour(1)), until=3) == 2
    assert hours(unmanaged_run(started_at=hour(1), status=RunStatus.COMPLETED,
                               finished_at=hour(2))) == 1  # fmt: skip
    assert hours(RunFactory(started_at=None)) == 0


# --- the same by the run's row ---------------------------------------------------------------


def hours_of_row(run, *, until=100):
    count_held_time(run.pk)
    run.refresh_from_db()
    return held_so_far(run, hour(until)) / timedelta(hours=1)


def test_row_tells_the_same_as_the_events_of_a_resumed_run():
    run = RunFactory(
        status=RunStatus.COMPLETED, queued_at=START, started_at=hour(1), finished_at=hour(9)
    )
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(run, EventKind.RECOVERED, hour(3))
    event(run, EventKind.CLAIMED, hour(7))
    event(run, EventKind.STATUS, hour(9), RunStatus.COMPLETED)

    assert hours_of_row(run) == hours(run) == 4


def test_row_of_a_run_at_work_counts_up_to_now():
    run = running(started_at=hour(1))
    event(run, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(run, EventKind.RELEASED, hour(2))
    event(run, EventKind.CLAIMED, hour(5))

    assert hours_of_row(run, until=7) == hours(run, until=7) == 3


def test_row_of_a_run_that_never_had_a_worker_counts_from_its_start():
    assert hours_of_row(unmanaged_run(started_at=hour(1)), until=3) == 2
    assert held_so_far(RunFactory(started_at=None), START) is None


def test_migration_counts_runs_of_before_as_their_events_tell():
    resumed = RunFactory(status=RunStatus.COMPLETED, started_at=hour(1), finished_at=hour(9))
    event(resumed, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(resumed, EventKind.RECOVERED, hour(3))
    event(resumed, EventKind.CLAIMED, hour(7))
    event(resumed, EventKind.STATUS, hour(9), RunStatus.COMPLETED)
    without_end = RunFactory(status=RunStatus.FAILED, started_at=hour(1), finished_at=hour(4))
    event(without_end, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    at_work = running(started_at=hour(5))
    event(at_work, EventKind.CLAIMED, hour(5), RunStatus.RUNNING)
    elsewhere = unmanaged_run(started_at=hour(6))
    Run.objects.update(held_seconds=None, held_since=None)

    with connection.cursor() as cursor:
        cursor.execute(import_module("runs.migrations.0021_held_time").COUNT_HELD_TIME)

    for run in (resumed, without_end, at_work, elsewhere):
        run.refresh_from_db()
        assert held_so_far(run, hour(8)) == held_time(run, until=hour(20 if run.finished_at else 8))
    assert elsewhere.held_seconds is None


def test_what_workers_do_is_counted_as_it_happens():
    run, worker = RunFactory(), WorkerFactory()

    run.claim(worker)
    claimed = Run.objects.get(pk=run.pk)
    attempts.release(run, worker, next_attempt=False)
    released = Run.objects.get(pk=run.pk)
    released.claim(worker)
    released.transition(RunStatus.COMPLETED)

    [first, leaving, second, end] = run.events.order_by("id")
    assert (claimed.held_seconds, claimed.held_since) == (0, first.created_at)
    assert released.held_since is None
    run.refresh_from_db()
    held = (leaving.created_at - first.created_at) + (end.created_at - second.created_at)
    assert run.held_since is None
    assert run.held_seconds == pytest.approx(held.total_seconds())


def test_queries_tell_the_same_as_rows():
    ended = RunFactory(started_at=hour(0), status=RunStatus.COMPLETED, finished_at=hour(9))
    event(ended, EventKind.CLAIMED, hour(1), RunStatus.RUNNING)
    event(ended, EventKind.STATUS, hour(3), RunStatus.COMPLETED)
    count_held_time(ended.pk)
    elsewhere = unmanaged_run(started_at=hour(0), status=RunStatus.COMPLETED, finished_at=hour(1))
    never = RunFactory()

    rows = Run.objects.annotate(held=HELD_SECONDS).values_list("pk", "held")

    assert dict(rows) == {ended.pk: 7200, elsewhere.pk: 3600, never.pk: None}
