"""GPU-seconds by project and person, against the same sums in plain Python."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from projects.sight import EVERYTHING
from runs.gpu_hour_queries import gpu_seconds
from runs.models import EventKind, Run, RunEvent
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, WorkerFactory

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 31, 12, tzinfo=UTC)
RECENT, SINCE = NOW - timedelta(days=7), NOW - timedelta(days=30)


def event(run, kind, at, to_status=""):
    row = RunEvent.objects.create(run=run, kind=kind, to_status=to_status, attempt=1)
    RunEvent.objects.filter(pk=row.pk).update(created_at=at)


def ended_run(*stretches, gpus=1, status=RunStatus.COMPLETED, end=None, **fields):
    """A run that workers have held in each stretch (claimed at, released at)."""
    start = stretches[0][0] if stretches else NOW - timedelta(days=1)
    end = end or stretches[-1][1]
    run = RunFactory(
        status=status, gpu_type="A100", gpu_count=gpus, started_at=start, finished_at=end, **fields
    )
    event(run, EventKind.CREATED, start, RunStatus.QUEUED)
    for number, (claimed, released) in enumerate(stretches):
        event(run, EventKind.CLAIMED, claimed, "" if number else RunStatus.RUNNING)
        if number < len(stretches) - 1:
            event(run, EventKind.RECOVERED, released)
    event(run, EventKind.STATUS, end, status)
    return run


def sums(limit=100):
    rows = gpu_seconds(since=SINCE, recent=RECENT, now=NOW, sight=EVERYTHING, limit=limit)
    return {(row.project_id, row.user_id): (row.recent, row.all) for row in rows}


def hours_ago(hours):
    return NOW - timedelta(hours=hours)


def test_time_between_attempts_does_not_count():
    run = ended_run((hours_ago(10), hours_ago(8)), (hours_ago(3), hours_ago(2)), gpus=4)

    assert sums() == {(run.project_id, None): (3 * 4 * 3600, 3 * 4 * 3600)}


def test_what_was_before_the_window_does_not_count():
    run = ended_run((NOW - timedelta(days=31), NOW - timedelta(days=29)))

    assert sums() == {(run.project_id, None): (0, 86_400)}


def test_run_in_progress_counts_until_now():
    run = RunFactory(status=RunStatus.RUNNING, worker=WorkerFactory(), gpu_type="A100", gpu_count=2)
    event(run, EventKind.CLAIMED, hours_ago(5), RunStatus.RUNNING)

    assert sums() == {(run.project_id, None): (2 * 5 * 3600, 2 * 5 * 3600)}


def test_resumed_run_that_waits_for_a_worker_counts_nothing():
    run = RunFactory(status=RunStatus.RUNNING, started_at=hours_ago(5), gpu_count=2)
    event(run, EventKind.CREATED, hours_ago(5), RunStatus.RUNNING)

    assert sums() == {}


def test_script_elsewhere_counts_from_its_start_to_its_end():
    run = RunFactory(
        recipe=None,
        status=RunStatus.COMPLETED,
        gpu_count=8,
        started_at=hours_ago(4),
        finished_at=hours_ago(1),
    )

    assert sums() == {(run.project_id, None): (8 * 3 * 3600, 8 * 3 * 3600)}


def test_sums_are_those_of_plain_python():
    chosen = random.Random(7)
    projects, people = ProjectFactory.create_batch(3), UserFactory.create_batch(2)
    expected = defaultdict(lambda: [0.0, 0.0])
    for _ in range(40):
        project, person, gpus = chosen.choice(projects), chosen.choice(people), chosen.randint(0, 8)
        marks = sorted(
            NOW - timedelta(seconds=chosen.randint(0, 40 * 86_400))
            for _ in range(2 * chosen.randint(1, 3))
        )
        stretches = list(zip(marks[::2], marks[1::2], strict=True))
        ended_run(*stretches, gpus=gpus, project=project, created_by=person)
        for began, ended in stretches:
            for place, since in enumerate((RECENT, SINCE)):
                held = (ended - max(began, since)).total_seconds()
                expected[project.pk, person.pk][place] += gpus * max(0.0, held)

    found = sums()

    assert found.keys() == {key for key, (_recent, all_) in expected.items() if all_}
    for key, pair in found.items():
        assert pair == pytest.approx(expected[key])


def test_only_the_largest_are_returned_largest_first():
    small = ended_run((hours_ago(3), hours_ago(2)))
    large = ended_run((hours_ago(9), hours_ago(2)))

    assert list(sums()) == [(large.project_id, None), (small.project_id, None)]
    assert list(sums(limit=1)) == [(large.project_id, None)]
    assert Run.objects.count() == 2
