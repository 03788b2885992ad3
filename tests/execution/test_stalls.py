"""Whether a run still advances, by the limits of its recipe."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.translation import override

from execution.stalls import stall
from runs.status import RunStatus
from tests.factories import RecipeFactory, RunFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def run_of(*, silence=0, step=0, **seconds_ago):
    recipe = RecipeFactory(stall_silence_seconds=silence, stall_step_seconds=step)
    times = {name: NOW - timedelta(seconds=seconds) for name, seconds in seconds_ago.items()}
    return RunFactory(status=RunStatus.RUNNING, recipe=recipe, step=7, **times)


def reason(run):
    with override("en"):
        return stall(run, NOW)


def test_run_without_limits_never_stalls():
    assert reason(run_of(reported_at=10_000, attempt_started_at=10_000)) == ""


def test_run_that_says_nothing_for_too_long_has_stalled():
    assert "nothing for 60 s" in reason(run_of(silence=60, reported_at=61, attempt_started_at=900))
    assert reason(run_of(silence=60, reported_at=59, attempt_started_at=900)) == ""


def test_run_that_never_said_anything_stalls_after_its_start():
    assert reason(run_of(silence=60, attempt_started_at=61))
    assert reason(run_of(silence=60, attempt_started_at=59)) == ""


def test_run_that_prints_but_takes_no_step_has_stalled():
    run = run_of(silence=60, step=600, reported_at=1, stepped_at=601, attempt_started_at=900)

    assert "at step 7 for 600 s" in reason(run)


def test_time_before_the_attempt_does_not_count():
    run = run_of(silence=60, step=60, reported_at=900, stepped_at=900, attempt_started_at=30)

    assert reason(run) == ""


def test_attempt_that_was_not_started_has_not_stalled():
    assert reason(run_of(silence=60, step=60)) == ""
