"""Quotas of projects and owners: those beyond them wait, others go ahead."""

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import translation

from execution.scheduling.claiming import claim
from execution.scheduling.explanation import WaitsFor, explain
from runs.models import GpuUsage, Quota
from tests.concurrency import in_parallel
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db


def gpu_run(project, count=1, **fields):
    return RunFactory(project=project, gpu_type="A100", gpu_count=count, **fields)


def test_project_holds_no_more_gpus_than_its_quota():
    GpuPoolFactory()
    project = ProjectFactory()
    Quota.objects.create(project=project, max_gpus=3)
    running(project=project, gpu_type="A100", gpu_count=1)
    within, beyond, small = gpu_run(project, 1), gpu_run(project, 2), gpu_run(project, 1)

    assert claim(WorkerFactory(), slots=9) == [within, small]
    assert explain(beyond).waits_for is WaitsFor.QUOTA


def test_run_that_waits_for_its_quota_holds_up_nobody():
    GpuPoolFactory()
    limited, free = ProjectFactory.create_batch(2)
    Quota.objects.create(project=limited, max_gpus=0)
    gpu_run(limited, 8, priority=9)
    run = gpu_run(free, 8)

    assert claim(WorkerFactory(), slots=9) == [run]


def test_projects_of_an_owner_share_its_quota():
    GpuPoolFactory()
    one, other = ProjectFactory.create_batch(2, owner="Lee")
    Quota.objects.create(owner="Lee", max_gpus=3)
    gpu_run(one, 2), gpu_run(other, 2)

    assert len(claim(WorkerFactory(), slots=9)) == 1


def test_quota_of_a_pool_leaves_the_others_alone():
    pool = GpuPoolFactory()
    GpuPoolFactory(gpu_type="H100")
    project = ProjectFactory()
    Quota.objects.create(project=project, pool=pool, max_gpus=0)
    gpu_run(project, 1)
    run = RunFactory(project=project, gpu_type="H100", gpu_count=1)

    assert claim(WorkerFactory(), slots=9) == [run]


def test_month_s_gpu_hours_used_up_hold_runs_back():
    GpuPoolFactory()
    project = ProjectFactory()
    Quota.objects.create(project=project, max_gpu_hours=2.0)
    GpuUsage.objects.create(
        project=project, pool="A100", day=datetime.now(UTC).date(), gpu_seconds=7200.0
    )
    run = gpu_run(project)

    assert claim(WorkerFactory(), slots=9) == []
    with translation.override("en"):
        assert explain(run).reason == (
            f"The quota of {project.name} is used up: 2 of 2 GPU-hours this month."
        )


def test_runs_without_gpus_know_no_quota():
    project = ProjectFactory()
    Quota.objects.create(project=project, max_gpus=0)
    run = RunFactory(project=project)

    assert claim(WorkerFactory(), slots=9) == [run]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_workers_never_pass_a_quota():
    GpuPoolFactory(capacity=100)
    project = ProjectFactory()
    Quota.objects.create(project=project, max_gpus=5)
    for _ in range(12):
        gpu_run(project)
    workers = WorkerFactory.create_batch(4)

    claimed = in_parallel(*(lambda worker=worker: claim(worker, slots=9) for worker in workers))

    assert sum(len(runs) for runs in claimed) == 5


# --- what a quota may be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"max_gpus": 1}, {"owner": "Lee"}], ids=["of nobody", "limits nothing"]
)
def test_quota_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValidationError):
        Quota(**fields).full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        Quota.objects.create(**fields)


def test_second_quota_of_the_same_is_refused():
    Quota.objects.create(owner="Lee", max_gpus=1)

    with pytest.raises(ValidationError):
        Quota(owner="Lee", max_gpus=2).full_clean()
