"""The priority of a run that waits."""

import pytest
from django.utils import timezone
from django.utils.translation import override

from core.exceptions import InvalidInput
from runs import interruptions
from runs.models import EventKind
from runs.status import InvalidTransition, RunStatus
from tests.factories import RunFactory, UserFactory, running

pytestmark = pytest.mark.django_db


def test_priority_of_a_queued_run_is_changed_and_recorded():
    run, user = RunFactory(priority=1), UserFactory()

    run.set_priority(5, by=user)

    event = run.events.get()
    assert run.priority == 5
    with override("en"):
        assert (event.kind, event.actor, str(event.reason)) == (
            EventKind.PRIORITY_CHANGED,
            user,
            "1 → 5",
        )


def test_priority_of_a_run_that_is_continued_after_a_pause_is_changed():
    run = RunFactory(status=RunStatus.PAUSED, started_at=timezone.now())
    continued = interruptions.continue_run(run, by=None)

    continued.set_priority(5, by=None)

    assert continued.priority == 5


def test_same_priority_records_nothing():
    run = RunFactory(priority=5)

    run.set_priority(5, by=None)

    assert not run.events.exists()


@pytest.mark.parametrize("priority", [-101, 101])
def test_priority_out_of_range_is_refused(priority):
    with pytest.raises(InvalidInput):
        RunFactory().set_priority(priority, by=None)


def test_priority_of_a_run_that_does_not_wait_is_refused():
    with pytest.raises(InvalidTransition):
        running().set_priority(5, by=None)
