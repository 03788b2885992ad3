"""For how long workers have held a run."""

from datetime import UTC, datetime, timedelta

import pytest

from runs.held_time import held_time
from runs.models import EventKind, RunEvent
from runs.status import RunStatus
from tests.factories import RunFactory, running, unmanaged_run

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
