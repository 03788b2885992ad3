"""Since when a run has not been heard of, and since when it has not advanced."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs import attempts, progress
from runs.models import Run
from runs.status import RunStatus
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def threshold(settings):
    settings.SILENT_SECONDS = 60


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def run_of(**fields: Any) -> Run:
    """A running run of a worker, started long ago."""
    return RunFactory(status=RunStatus.RUNNING, **{"attempt_started_at": ago(1000), **fields})


@pytest.mark.parametrize("fields", [{}, {"recipe": None, "attempt_started_at": None}])
def test_run_is_silent_after_the_configured_time(fields):
    run = run_of(reported_at=ago(90), **fields)

    assert run.silent_since == run.reported_at
    assert run_of(reported_at=ago(30), **fields).silent_since is None


def test_run_that_never_reported_is_silent_since_its_start():
    run = run_of(reported_at=None)

    assert run.silent_since == run.attempt_started_at


def test_new_attempt_is_not_silent_for_what_the_last_one_did_not_say():
    assert run_of(reported_at=ago(500), attempt_started_at=ago(30)).silent_since is None
    assert run_of(stepped_at=ago(500), attempt_started_at=ago(30)).no_step_since is None


def test_run_that_has_ended_is_not_silent():
    run = RunFactory(status=RunStatus.COMPLETED, reported_at=ago(90), attempt_started_at=ago(100))

    assert (run.silent_since, run.no_step_since) == (None, None)


def test_run_that_waits_for_its_next_attempt_is_not_silent():
    run = run_of(reported_at=ago(90))

    attempts.recover(run, "It died.")

    assert Run.objects.get(pk=run.pk).silent_since is None


def test_run_tells_since_when_it_has_been_at_its_step():
    run = run_of(reported_at=ago(1), stepped_at=ago(90))

    assert run.silent_since is None
    assert run.no_step_since == run.stepped_at


def test_run_without_steps_has_no_last_step():
    assert run_of(stepped_at=None).no_step_since is None


def test_time_of_the_last_step_is_when_the_step_rose():
    run = run_of()
    progress.report_progress(run, step=3, total_steps=None)
    first = run.stepped_at

    progress.report_progress(run, step=3, total_steps=None)
    progress.report_progress(run, step=2, total_steps=10)

    assert first is not None
    assert Run.objects.get(pk=run.pk).stepped_at == first
