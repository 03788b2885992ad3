"""Troubles that pass by themselves: while they last, they are the run's reason."""

import pytest

from runs import troubles
from runs.actions import settle, stop_stalled
from runs.executors import WorkState, WorkStatus
from runs.models import EventKind
from runs.status import RunStatus
from tests.factories import RecipeFactory, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    return running(recipe=RecipeFactory(stall_action="fail"))


def begin(run, kind, reason):
    return troubles.begin(run, kind, reason, worker=run.worker)


def end(run, kind):
    troubles.end(run, kind, worker=run.worker)
    run.refresh_from_db()


def kinds(run):
    return list(run.events.values_list("kind", flat=True))


def test_trouble_is_the_runs_reason_while_it_lasts(run):
    begin(run, EventKind.FAULT, "no connection")
    run.refresh_from_db()
    assert run.status_reason == "no connection"

    end(run, EventKind.FAULT)

    assert run.status_reason == ""
    assert kinds(run) == [EventKind.FAULT, EventKind.FAULT_OVER]


def test_trouble_is_noted_once_for_each_reason(run):
    assert begin(run, EventKind.FAULT, "a")
    assert not begin(run, EventKind.FAULT, "a")
    assert begin(run, EventKind.FAULT, "b")

    end(run, EventKind.FAULT)
    end(run, EventKind.FAULT)

    assert kinds(run) == [EventKind.FAULT, EventKind.FAULT, EventKind.FAULT_OVER]


@pytest.mark.parametrize(
    ("over", "left"), [(EventKind.FAULT, "disk full"), (EventKind.NOT_STORED, "no connection")]
)
def test_of_two_troubles_the_one_that_lasts_stays(run, over, left):
    begin(run, EventKind.NOT_STORED, "disk full")
    begin(run, EventKind.FAULT, "no connection")

    end(run, over)

    assert run.status_reason == left


def test_trouble_of_an_earlier_attempt_does_not_come_back(run):
    begin(run, EventKind.FAULT, "no connection")
    run.change(attempt=2, status_reason="")

    begin(run, EventKind.NOT_STORED, "disk full")
    end(run, EventKind.NOT_STORED)

    assert run.status_reason == ""


def test_stalled_run_keeps_its_reason_over_a_trouble(run):
    stop_stalled(run, "Stalled: nothing for 60 s.", worker=run.worker)
    run.refresh_from_db()
    begin(run, EventKind.NOT_STORED, "disk full")

    end(run, EventKind.NOT_STORED)
    assert run.status_reason == "Stalled: nothing for 60 s."
    begin(run, EventKind.NOT_STORED, "disk full")
    settle(run, WorkStatus(WorkState.STOPPED, exit_code=1), worker=run.worker)

    run.refresh_from_db()
    assert (run.status, run.status_reason) == (RunStatus.FAILED, "Stalled: nothing for 60 s.")
