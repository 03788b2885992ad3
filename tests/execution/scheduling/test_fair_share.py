"""Between projects, those that have used less GPU time lately go first."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from execution.scheduling.claiming import claim
from execution.scheduling.gpu_use import GpuUse
from runs import attempts
from runs.models import GpuUsage, Run
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db

NOW = timezone.now()
HOUR = 3600.0


def gpu_run(project, count=1, **fields):
    return RunFactory(project=project, gpu_type="A100", gpu_count=count, **fields)


def used(project, *, days_ago, gpu_hours=1.0):
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date()
    GpuUsage.objects.create(project=project, pool="A100", day=day, gpu_seconds=gpu_hours * HOUR)


def test_project_that_has_used_less_goes_first():
    GpuPoolFactory()
    busy, idle = ProjectFactory.create_batch(2)
    used(busy, days_ago=2)
    old = gpu_run(busy, queued_at=NOW - timedelta(hours=9))
    young = gpu_run(idle)

    assert claim(WorkerFactory(), slots=2) == [young, old]


def test_use_before_the_window_does_not_count():
    GpuPoolFactory()
    busy, idle = ProjectFactory.create_batch(2)
    used(busy, days_ago=9)
    old = gpu_run(busy, queued_at=NOW - timedelta(hours=9))
    young = gpu_run(idle)

    assert claim(WorkerFactory(), slots=2) == [old, young]


def test_priority_goes_before_fair_share():
    GpuPoolFactory()
    busy, idle = ProjectFactory.create_batch(2)
    used(busy, days_ago=1)
    urgent, young = gpu_run(busy, priority=1), gpu_run(idle)

    assert claim(WorkerFactory(), slots=2) == [urgent, young]


def test_gpus_that_are_held_count_as_they_are_used():
    GpuPoolFactory()
    project = ProjectFactory()
    began = timezone.now() - timedelta(hours=2)
    running(project=project, gpu_type="A100", gpu_count=4, held_since=began)

    assert GpuUse.read(7.0).usage()[project.pk] == pytest.approx(8 * HOUR, rel=0.01)


def test_hold_counts_within_the_window_and_the_month():
    GpuPoolFactory()
    now = datetime.now(UTC)
    began = now - timedelta(days=40)
    run = running(gpu_type="A100", gpu_count=4, held_since=began)

    use = GpuUse.read(7.0)

    month_began = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert use.usage()[run.project_id] == pytest.approx(4 * 7 * 24 * HOUR, abs=40)
    assert use.month(run.project_id, "A100") == pytest.approx(
        4 * (now - month_began).total_seconds(), abs=40
    )


def test_hold_is_counted_when_it_ends_by_day():
    GpuPoolFactory()
    run = running(gpu_type="A100", gpu_count=2)
    began = datetime.now(UTC) - timedelta(days=1)
    Run.objects.filter(pk=run.pk).update(held_since=began)

    run.transition(RunStatus.COMPLETED)

    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    by_day = dict(GpuUsage.objects.order_by("day").values_list("day", "gpu_seconds"))
    assert list(by_day) == [began.date(), midnight.date()]
    assert by_day[began.date()] == pytest.approx(2 * (midnight - began).total_seconds(), abs=1)
    assert sum(by_day.values()) == pytest.approx(2 * 24 * HOUR, abs=10)


def test_hold_is_counted_once_when_the_run_goes_on():
    GpuPoolFactory()
    run = gpu_run(ProjectFactory(), 2)
    worker = WorkerFactory()
    claim(worker, slots=1)
    Run.objects.filter(pk=run.pk).update(held_since=datetime.now(UTC) - timedelta(seconds=100))

    attempts.recover(Run.objects.get(pk=run.pk), "died")
    claim(worker, slots=1)
    Run.objects.get(pk=run.pk).transition(RunStatus.COMPLETED)

    total = sum(GpuUsage.objects.values_list("gpu_seconds", flat=True))
    assert total == pytest.approx(200, abs=5)
