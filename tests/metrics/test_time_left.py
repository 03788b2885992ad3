"""How long a run will still take."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metrics.points import Point
from metrics.recording import record_metrics
from metrics.time_left import estimate, time_left
from runs.models import Run
from runs.status import RunStatus
from tests.factories import running, unmanaged_run

pytestmark = pytest.mark.django_db

START_MS = 1_700_000_000_000


def report(run, steps, seconds_a_step=1.0, *, key="loss", start_ms=START_MS):
    points = [
        Point(key, step, 1.0, start_ms + round(1000 * seconds_a_step * number))
        for number, step in enumerate(steps)
    ]
    record_metrics(run, points)


def test_steady_run_takes_its_pace_times_its_remaining_steps():
    run = unmanaged_run(total_steps=1000)
    report(run, range(1, 401), seconds_a_step=2.0)

    left = time_left(run)

    assert left is not None
    assert left.estimate == timedelta(seconds=1200)
    assert left.low == timedelta(seconds=1200 * 0.97)
    assert left.high == timedelta(seconds=1200 * 1.03)


def test_only_the_recent_pace_counts():
    run = unmanaged_run(total_steps=1000)
    report(run, range(1, 101), seconds_a_step=60.0)
    report(run, range(101, 401), seconds_a_step=1.0, start_ms=START_MS + 100 * 60_000)

    left = time_left(run)

    assert left is not None
    assert left.estimate == timedelta(seconds=600)


def test_uneven_pace_widens_the_uncertainty():
    even = estimate([(step, step * 10_000) for step in range(9)], 100)
    times = [0, 5, 20, 24, 40, 43, 60, 64, 80]
    uneven = estimate([(step, at * 1000) for step, at in enumerate(times)], 100)

    assert even is not None
    assert uneven is not None
    assert even.estimate == uneven.estimate
    assert uneven.high - uneven.low > 5 * (even.high - even.low)


def test_metrics_of_the_host_do_not_tell_the_pace():
    run = unmanaged_run(total_steps=1000)
    report(run, range(1, 101), seconds_a_step=1.0)
    report(run, range(1, 2000), seconds_a_step=0.1, key="system/cpu_utilization_percentage")

    left = time_left(run)

    assert left is not None
    assert left.estimate == timedelta(seconds=900)


def test_pace_of_an_earlier_attempt_does_not_count():
    run = unmanaged_run(total_steps=1000, start_step=300)
    report(run, range(1, 301), seconds_a_step=60.0)
    report(run, range(301, 401), seconds_a_step=1.0, start_ms=START_MS + 600 * 60_000)

    left = time_left(run)

    assert left is not None
    assert left.estimate == timedelta(seconds=600)


@pytest.mark.parametrize(
    "change",
    [
        {"status": RunStatus.COMPLETED, "finished_at": timezone.now()},
        {"status": RunStatus.QUEUED},
        {"total_steps": None},
        {"total_steps": 100},
        {"stop_requested_at": timezone.now()},
        {"reported_at": timezone.now() - timedelta(days=1)},
    ],
)
def test_nothing_is_told_of_what_cannot_be_known(change):
    run = running(total_steps=1000, attempt_started_at=timezone.now() - timedelta(days=2))
    report(run, range(1, 101))
    Run.objects.filter(pk=run.pk).update(**change)

    assert time_left(Run.objects.get(pk=run.pk)) is None


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1, 0)],
        [(1, 0), (2, 60_000)],
        [(1, 0), (2, 1000), (3, 2000), (4, 3000)],
        [(1, 0), (2, 60_000), (3, 50_000), (4, 120_000)],
        [(1, 0), (2, 10**15), (3, 2 * 10**15), (4, 3 * 10**15)],
    ],
)
def test_too_few_too_quick_or_impossible_times_tell_nothing(points):
    assert estimate(points, 10**6) is None
