"""Which run is next, and that two workers never take the same one."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone, translation

from execution.scheduling import claim, claimable, pool_uses, why_waiting
from runs.models import EventKind, Run, Worker
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


def test_blocked_big_run_does_not_hold_up_small_ones():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=4)
    gpu_run(8, priority=9)
    small, none = gpu_run(2), RunFactory(queued_at=timezone.now())

    assert claim(WorkerFactory(), slots=9) == [small, none]


def test_type_without_a_pool_has_no_limit():
    GpuPoolFactory(gpu_type="H200", capacity=0)
    run = gpu_run(64)

    assert claim(WorkerFactory(), slots=1) == [run]


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

    used = {pool.gpu_type: pool.used for pool in pool_uses()}
    assert [result for result in results if isinstance(result, Exception)] == []
    assert used == {"A100": 6, "H200": 2}


# --- the index -------------------------------------------------------------------------------


def test_queue_is_read_from_its_index():
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

    queued = claimable(Run.objects.queued(), ["simulated", "char-lm"], {"A100": 0})

    with transaction.atomic():
        plan = queued.in_queue_order().select_for_update(skip_locked=True)[:1].explain()

    assert "run_queue" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("length", [1, 30])
def test_queries_of_a_claim_do_not_grow_with_the_queue(length, django_assert_max_num_queries):
    GpuPoolFactory(capacity=8)
    RunFactory.create_batch(length)
    worker = WorkerFactory()

    # 3 for pools and recipes, 2 to find the run, 6 to assign it to the worker, and the savepoints
    with django_assert_max_num_queries(15):
        claim(worker, slots=1)


# --- why it waits ----------------------------------------------------------------------------


@pytest.fixture
def english():
    with translation.override("en"):
        yield


@pytest.mark.usefixtures("english")
def test_reason_is_that_no_worker_can_execute_it():
    WorkerFactory(executors=["process"])

    assert why_waiting(RunFactory()) == "No running worker can execute it."


@pytest.mark.usefixtures("english")
def test_dead_and_stopped_workers_do_not_count():
    WorkerFactory(last_heartbeat=minutes_ago(60))
    WorkerFactory(stopped_at=NOW)

    assert why_waiting(RunFactory()) == "No running worker can execute it."


@pytest.mark.usefixtures("english")
def test_reason_is_that_every_worker_drains():
    WorkerFactory(draining=True)

    assert (
        why_waiting(RunFactory())
        == "Every worker that can execute it is draining: it takes no new runs."
    )


@pytest.mark.usefixtures("english")
def test_draining_worker_does_not_matter_next_to_another():
    WorkerFactory(draining=True)
    WorkerFactory()

    assert why_waiting(RunFactory()).startswith("Next in the queue")


@pytest.mark.usefixtures("english")
def test_reason_is_that_the_pool_is_too_small():
    WorkerFactory()
    GpuPoolFactory(capacity=8)

    reason = why_waiting(gpu_run(16))

    assert reason == "It requests 16 A100 GPUs, but there are only 8."


@pytest.mark.usefixtures("english")
def test_reason_is_that_the_gpus_are_in_use():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=6)

    assert why_waiting(gpu_run(4)) == "Waiting for 4 A100 GPUs; 2 are free."


@pytest.mark.usefixtures("english")
def test_reason_names_the_number_of_runs_ahead():
    WorkerFactory()
    RunFactory(queued_at=minutes_ago(9))
    RunFactory(priority=1)
    run = RunFactory(queued_at=minutes_ago(5))
    RunFactory(queued_at=minutes_ago(1))

    assert "2" in why_waiting(run)


def test_worker_is_alive_while_its_heartbeat_is_fresh(settings):
    settings.WORKER_LEASE_SECONDS = 30
    fresh = WorkerFactory()
    dead = WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=31))
    stopped = WorkerFactory(stopped_at=timezone.now())

    assert list(Worker.objects.alive()) == [fresh]
    assert [worker.is_alive for worker in (fresh, dead, stopped)] == [True, False, False]
