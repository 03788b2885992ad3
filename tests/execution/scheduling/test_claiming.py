"""Which run is next, and that two workers never take the same one."""

from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone

from core.database import Statement
from execution.scheduling import stored_queue
from execution.scheduling.claiming import claim
from execution.scheduling.pools import pool_uses
from runs.actions import create_run
from runs.models import EventKind, Quota, Run
from runs.status import RunStatus
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    WorkerFactory,
    running,
)

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)

NOW = timezone.now()


def minutes_ago(minutes):
    return NOW - timedelta(minutes=minutes)


# --- order -----------------------------------------------------------------------------------


def test_claim_takes_the_highest_priority_then_the_oldest():
    young = RunFactory(queued_at=minutes_ago(1))
    old = RunFactory(queued_at=minutes_ago(9))
    urgent = RunFactory(queued_at=minutes_ago(0), priority=5)

    claimed = claim(WorkerFactory(), slots=3)

    assert claimed == [urgent, old, young]


def test_interrupted_runs_come_first_oldest_start_first():
    urgent = RunFactory(priority=100)
    later = RunFactory(status=RunStatus.RUNNING, started_at=minutes_ago(1))
    earlier = RunFactory(status=RunStatus.RUNNING, started_at=minutes_ago(9))

    claimed = claim(WorkerFactory(), slots=3)

    assert claimed == [earlier, later, urgent]


def test_claim_takes_at_most_the_number_of_slots():
    RunFactory.create_batch(3)

    assert len(claim(WorkerFactory(), slots=2)) == 2
    assert Run.objects.queued().count() == 1


def test_claimed_run_is_running_with_its_worker_and_an_event():
    worker, run = WorkerFactory(), RunFactory()

    claim(worker, slots=1)

    run.refresh_from_db()
    event = run.events.get()
    assert (run.status, run.worker) == (RunStatus.RUNNING, worker)
    assert run.started_at is not None
    assert (event.kind, event.to_status, event.worker) == (
        EventKind.CLAIMED,
        RunStatus.RUNNING,
        worker,
    )


def test_interrupted_run_keeps_the_time_of_its_first_start():
    run = RunFactory(status=RunStatus.RUNNING, started_at=minutes_ago(9))

    claim(WorkerFactory(), slots=1)

    run.refresh_from_db()
    assert run.started_at == minutes_ago(9)


def test_worker_claims_only_what_it_can_execute():
    RunFactory(recipe=RecipeFactory())
    simulated = RunFactory()

    assert claim(WorkerFactory(executors=["simulated"]), slots=9) == [simulated]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_ended_run_is_not_claimed(status):
    RunFactory(status=status)

    assert claim(WorkerFactory(), slots=1) == []


def test_run_of_another_worker_is_not_claimed():
    running()

    assert claim(WorkerFactory(), slots=1) == []


# --- several workers -------------------------------------------------------------------------


def test_draining_worker_claims_nothing_until_it_is_undrained():
    worker, run = WorkerFactory(), RunFactory()

    worker.drain(by=None)
    assert claim(worker, slots=1) == []
    worker.undrain(by=None)

    assert claim(worker, slots=1) == [run]


@with_two_connections
def test_claim_skips_runs_that_another_worker_is_claiming():
    first, second = RunFactory(priority=1), RunFactory()
    one, other = WorkerFactory.create_batch(2)

    with transaction_elsewhere(lambda: claim(one, slots=1)) as claimed_elsewhere:
        claimed = claim(other, slots=9)

    assert claimed_elsewhere == [first]
    assert claimed == [second]


@with_two_connections
def test_concurrent_workers_never_claim_the_same_run():
    RunFactory.create_batch(20)
    workers = WorkerFactory.create_batch(4)

    def take_all(worker):
        taken = []
        while claimed := claim(worker, slots=1):
            taken += [run.pk for run in claimed]
        return taken

    taken = in_parallel(*(lambda worker=worker: take_all(worker) for worker in workers))

    claimed = [pk for pks in taken for pk in pks]
    assert sorted(claimed) == sorted(Run.objects.values_list("pk", flat=True))
    assert len(set(claimed)) == 20


# --- GPUs ------------------------------------------------------------------------------------


def gpu_run(count, **fields):
    return RunFactory(gpu_type="A100", gpu_count=count, **fields)


def test_claims_of_one_worker_stay_within_the_pool():
    GpuPoolFactory(capacity=8)
    runs = [gpu_run(4, priority=9 - n) for n in range(3)]

    assert claim(WorkerFactory(), slots=9) == runs[:2]
    assert pool_uses()[0].free == 0


def test_gpus_of_other_workers_runs_are_counted():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=6)
    gpu_run(4)

    assert claim(WorkerFactory(), slots=1) == []


def test_gpus_of_an_unclaimed_run_are_free():
    GpuPoolFactory(capacity=8)
    interrupted = gpu_run(8, status=RunStatus.RUNNING)

    assert claim(WorkerFactory(), slots=1) == [interrupted]


def test_blocked_big_run_holds_up_no_run_without_gpus():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=4)
    gpu_run(8, priority=9)
    none = RunFactory()

    assert claim(WorkerFactory(), slots=9) == [none]


def test_run_without_a_type_has_no_limit_where_there_is_no_pool():
    run = RunFactory(gpu_count=64)

    assert claim(WorkerFactory(), slots=1) == [run]


def test_run_whose_pool_was_deleted_is_not_claimed():
    pool = GpuPoolFactory(capacity=8)
    gpu_run(1)
    pool.delete()

    assert claim(WorkerFactory(), slots=1) == []


def test_pool_of_hosts_is_served_by_their_workers_alone():
    GpuPoolFactory(capacity=8, hosts=["a"])
    run = gpu_run(1)

    assert claim(WorkerFactory(host="b"), slots=1) == []
    assert claim(WorkerFactory(host="a"), slots=1) == [run]


def test_pool_that_was_shrunk_below_its_usage_has_no_free_gpus():
    GpuPoolFactory(capacity=2)
    running(gpu_type="A100", gpu_count=4)
    gpu_run(1)
    free_of_gpus = gpu_run(0)

    assert claim(WorkerFactory(), slots=9) == [free_of_gpus]


@with_two_connections
def test_concurrent_workers_never_overbook_a_pool():
    GpuPoolFactory(capacity=8)
    GpuPoolFactory(gpu_type="H200", capacity=2)
    for _ in range(6):
        gpu_run(3)
        RunFactory(gpu_type="H200", gpu_count=1)
    workers = WorkerFactory.create_batch(4)

    results = in_parallel(*(lambda worker=worker: claim(worker, slots=9) for worker in workers))

    used = {pool.name: pool.used for pool in pool_uses()}
    assert [result for result in results if isinstance(result, Exception)] == []
    assert used == {"A100": 6, "H200": 2}


# --- the index -------------------------------------------------------------------------------


@pytest.fixture
def long_queue():
    """Between ten times as many runs that are over."""
    project = ProjectFactory()
    done = RunFactory.build(project=project, status=RunStatus.COMPLETED)
    template = RunFactory(project=project)
    rows = []
    for number in range(3000):
        row = Run(**{f.attname: getattr(template, f.attname) for f in Run._meta.concrete_fields})
        row.pk = f"run_{number:012d}"
        if number % 10:
            row.status, row.finished_at = RunStatus.COMPLETED, done.finished_at
        rows.append(row)
    Run.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_run")


def test_priorities_are_read_from_the_index_of_the_queue(long_queue):
    lines = Statement("EXPLAIN " + stored_queue.PRIORITIES.text).rows()

    assert_reads_queue_from_index(lines, scans=2)


def test_runs_are_read_from_the_index_of_the_queue(long_queue):
    seen = []
    statement = Statement("EXPLAIN " + stored_queue.FIRST_OF_PROJECTS.text)

    with patch.object(stored_queue, "FIRST_OF_PROJECTS", recording(statement, seen)):
        claim(WorkerFactory(), slots=1)

    assert_reads_queue_from_index(seen, scans=3)


def assert_reads_queue_from_index(lines, scans):
    plan = "\n".join(line for [line] in lines)
    assert plan.count("run_queue_of_pool") == scans
    assert "Seq Scan" not in plan


def recording(statement, seen):
    """A statement in whose place ``statement`` runs, and that finds nothing."""

    def rows(**parameters):
        seen.extend(statement.rows(**parameters))
        return []

    return SimpleNamespace(rows=rows)


@pytest.mark.parametrize("length", [1, 30])
def test_queries_of_a_claim_do_not_grow_with_the_queue(length, django_assert_max_num_queries):
    GpuPoolFactory(capacity=8)
    RunFactory.create_batch(length)
    worker = WorkerFactory()

    # pools, quotas twice, recipes, the time, what is held and was used, interrupted runs, the
    # queue's pools, priorities and runs; the claim, the run, and the savepoints
    with django_assert_max_num_queries(15):
        claim(worker, slots=1)


# --- clusters with a queue of their own ------------------------------------------------------


def slurm_run(**fields):
    recipe = RecipeFactory(executor="slurm")
    return RunFactory(recipe=recipe, gpu_type="A100", gpu_count=8, **fields)


def test_run_goes_into_the_queue_of_its_cluster_and_stays_queued():
    GpuPoolFactory(capacity=1)
    run = slurm_run()
    worker = WorkerFactory(executors=["slurm"])

    assert claim(worker, slots=9, executors=["slurm"]) == [run]

    run.refresh_from_db()
    assert (run.status, run.worker, run.held_since) == (RunStatus.QUEUED, worker, None)
    assert run.events.get().kind == EventKind.SUBMITTED


def test_quota_holds_back_what_a_cluster_would_take():
    run = slurm_run()
    Quota.objects.create(project=run.project, max_gpus=4)

    assert claim(WorkerFactory(executors=["slurm"]), slots=9, executors=["slurm"]) == []


def test_runs_of_clusters_are_not_claimed_with_others():
    run = RunFactory()
    slurm_run()

    assert claim(WorkerFactory(executors=["slurm", "simulated"]), slots=9) == [run]


def test_run_of_a_cluster_takes_no_gpus_of_a_pool_of_hosts():
    GpuPoolFactory(capacity=8)

    run = create_run(
        ProjectFactory(),
        by=None,
        recipe=RecipeFactory(executor="slurm"),
        resources={"gpu_type": "A100", "gpu_count": 8},
    )

    assert run.pool == ""
