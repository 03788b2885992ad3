"""The worker and runs in the queue of a cluster, whose state the tests decide."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone, translation

from core.messages import Message
from execution.scheduling.claiming import claim
from execution.scheduling.explanation import WaitsFor, explain
from execution.scheduling.gpu_use import GpuUse
from execution.scheduling.pools import pool_uses
from execution.worker import WorkerLoop, offered_executors
from runs import actions, attempts
from runs.executors import WorkState, WorkStatus, executors
from runs.held_time import held_time
from runs.models import (
    EventKind,
    FailureKind,
    GpuPool,
    Quota,
    Run,
    StopKind,
    Worker,
    WorkerInUse,
)
from runs.status import InvalidTransition, RunStatus
from tests.execution.worker_loops import kinds
from tests.factories import GpuPoolFactory, RecipeFactory, RunFactory

pytestmark = pytest.mark.django_db

WAITING = WorkStatus(WorkState.WAITING, Message("Priority"))
WORKING = WorkStatus(WorkState.WORKING)


class Cluster:
    """An executor whose work is in the state that the test says."""

    in_database = False
    has_queue = True
    schedules = True

    def __init__(self):
        self.work = WorkStatus(WorkState.ABSENT)
        self.calls = []

    def poll(self, run, worker):
        work = self.work
        if work.state is WorkState.DIED:  # the next attempt has not been started
            self.work = WorkStatus(WorkState.ABSENT)
        return work

    def start(self, run, worker):
        self.calls.append("start")
        self.work = WAITING

    def stop(self, run, worker):
        self.calls.append("stop")

    def kill(self, run, worker):
        self.calls.append("kill")
        self.work = WorkStatus(WorkState.STOPPED)

    def latest_checkpoint(self, run):
        return None

    def keep_checkpoint(self, run, latest):
        return None

    def forget(self, run):
        self.calls.append("forget")

    def pools(self):
        return []

    def tidy(self):
        """Nothing to tidy."""


class Unordered(Cluster):
    """One that does not schedule: TrainHub counts its GPUs, as of Ray. ``begins``: the state of
    work that was just submitted; ``works``: that of each attempt."""

    schedules = False

    def __init__(self):
        super().__init__()
        self.begins = WAITING
        self.works = {}

    def poll(self, run, worker):
        return self.works.get((run.pk, run.attempt), WorkStatus(WorkState.ABSENT))

    def start(self, run, worker):
        self.works[run.pk, run.attempt] = self.begins

    def kill(self, run, worker):
        self.works[run.pk, run.attempt] = WorkStatus(WorkState.STOPPED)


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def loop(cluster):
    return registered(cluster)


def registered(cluster, name="one", **options):
    loop = WorkerLoop(name=name, executors={"slurm": cluster}, tick_seconds=0.01, **options)
    loop.register()
    return loop


def slurm_run(**fields):
    return RunFactory(recipe=RecipeFactory(executor="slurm"), **fields)


@pytest.fixture
def unordered():
    return Unordered()


@pytest.fixture
def counting_loop(unordered):
    """A worker of a cluster with a pool of 8 GPUs."""
    GpuPoolFactory(gpu_type="A100", capacity=8, executor="ray")
    return registered_for_ray(unordered)


def registered_for_ray(cluster, name="one"):
    loop = WorkerLoop(name=name, executors={"ray": cluster}, tick_seconds=0.01)
    loop.register()
    return loop


def ray_run(gpu_count=8, **fields):
    recipe = RecipeFactory(executor="ray")
    return RunFactory(recipe=recipe, gpu_type="A100", pool="A100", gpu_count=gpu_count, **fields)


def is_submitted(run):
    return fresh(run).worker_id is not None


def fresh(run):
    return Run.objects.select_related("recipe", "worker").get(pk=run.pk)


# --- waiting and starting --------------------------------------------------------------------


def test_run_that_its_cluster_holds_is_queued_with_the_reason(loop, cluster):
    run = slurm_run()

    loop.tick()

    run = fresh(run)
    assert (run.status, run.worker, run.status_reason) == (
        RunStatus.QUEUED,
        loop.worker,
        WAITING.reason,
    )
    assert (run.started_at, run.held_since, run.attempt_started_at) == (None, None, None)
    assert kinds(run) == [EventKind.SUBMITTED]


def test_estimated_start_is_told_while_it_waits(loop, cluster):
    run = slurm_run()
    loop.tick()
    at = timezone.now() + timedelta(hours=1)
    cluster.work = WorkStatus(WorkState.WAITING, WAITING.reason, starts_at=at)

    loop.tick()
    assert fresh(run).estimated_start == at

    cluster.work = WORKING
    loop.tick()
    assert fresh(run).estimated_start is None


def test_waiting_writes_nothing_while_it_is_the_same(loop):
    run = slurm_run()
    loop.tick()
    before = fresh(run).updated_at

    loop.tick()

    assert fresh(run).updated_at == before


def test_run_runs_and_holds_gpus_from_when_its_cluster_starts_it(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WORKING

    loop.tick()

    run = fresh(run)
    assert (run.status, run.status_reason) == (RunStatus.RUNNING, "")
    assert run.held_since is not None
    assert run.attempt_started_at is not None
    assert kinds(run) == [EventKind.SUBMITTED, EventKind.STARTED]


def test_resumed_run_waits_as_queued_until_its_job_starts(loop, cluster):
    run = slurm_run(status=RunStatus.RUNNING)

    loop.tick()
    assert fresh(run).status == RunStatus.QUEUED

    cluster.work = WORKING
    loop.tick()
    assert fresh(run).status == RunStatus.RUNNING
    assert kinds(run) == [EventKind.SUBMITTED, EventKind.REQUEUED, EventKind.STARTED]


def test_resumed_run_whose_job_starts_at_once_holds_gpus(loop, cluster):
    cluster.work = WORKING
    run = slurm_run(status=RunStatus.RUNNING)

    loop.tick()
    loop.tick()

    assert fresh(run).held_since is not None
    assert kinds(run) == [EventKind.SUBMITTED, EventKind.STARTED]


def test_job_that_ends_between_two_polls_has_run(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WorkStatus(WorkState.FINISHED, exit_code=0)

    loop.tick()

    assert fresh(run).status == RunStatus.COMPLETED
    assert EventKind.STARTED in kinds(run)


def test_time_in_the_clusters_queue_is_not_held(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WORKING
    loop.tick()
    started, waited = timezone.now() - timedelta(hours=3), timezone.now() - timedelta(hours=2)
    run.events.filter(kind=EventKind.STARTED).update(created_at=started)
    cluster.work = WAITING
    loop.tick()
    run.events.filter(kind=EventKind.REQUEUED).update(created_at=waited)

    assert held_time(fresh(run), until=timezone.now()) == waited - started
    assert fresh(run).held_since is None


# --- the end ---------------------------------------------------------------------------------


def test_run_that_waits_is_cancelled_at_once(loop, cluster):
    run = slurm_run()
    loop.tick()
    actions.cancel_run(run, by=None, wait_seconds=0)

    loop.tick()

    assert fresh(run).status == RunStatus.CANCELLED
    assert cluster.calls == ["start", "kill"]


def test_run_at_work_is_asked_to_stop_first(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WORKING
    loop.tick()
    actions.cancel_run(run, by=None, wait_seconds=0)

    loop.tick()

    assert cluster.calls == ["start", "stop"]


def interruption(kind):
    return WorkStatus(WorkState.DIED, Message("It ended."), failure_kind=kind, is_interruption=True)


def test_interruption_uses_up_no_restart(loop, cluster):
    run = slurm_run(max_restarts=0)
    loop.tick()
    cluster.work = interruption(FailureKind.PREEMPTED)
    loop.tick()

    run = fresh(run)
    assert (run.attempt, run.restart_count) == (2, 0)
    assert kinds(run)[-2:] == [EventKind.RECOVERED, EventKind.SUBMITTED]


def test_time_limit_twice_without_a_newer_checkpoint_has_failed(loop, cluster):
    run = slurm_run()
    loop.tick()
    for _time in range(2):
        cluster.work = interruption(FailureKind.TIME_LIMIT)
        loop.tick()

    run = fresh(run)
    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.TIME_LIMIT)


def test_newer_checkpoints_let_time_limits_go_on(loop):
    run = slurm_run()
    for step in (10, 20, 30):
        attempts.continue_after(
            fresh(run),
            Message("It ended."),
            failure_kind=FailureKind.TIME_LIMIT,
            checkpoint_step=step,
        )

    assert (fresh(run).attempt, fresh(run).status) == (4, RunStatus.QUEUED)


# --- clusters that do not schedule -----------------------------------------------------------


def test_run_goes_to_its_cluster_once_the_gpus_of_its_pool_are_free(counting_loop, unordered):
    first, second = ray_run(), ray_run()

    counting_loop.tick()
    assert (is_submitted(first), is_submitted(second)) == (True, False)

    unordered.works[first.pk, 1] = WorkStatus(WorkState.FINISHED, exit_code=0)
    counting_loop.tick()
    assert is_submitted(second)


def test_run_that_its_cluster_has_not_started_has_its_gpus(counting_loop):
    """Somebody outside TrainHub holds them: no other run is sent there to wait for the same."""
    first, second = ray_run(6), ray_run(4)

    counting_loop.tick()
    counting_loop.tick()

    assert (fresh(first).status, is_submitted(second)) == (RunStatus.QUEUED, False)
    assert pool_uses()[0].used == 6
    with translation.override("en"):
        explained = explain(fresh(second))
    assert explained.waits_for is WaitsFor.GPUS
    assert "2 are free" in explained.reason


def test_waiting_in_the_cluster_uses_no_gpu_time(counting_loop):
    run = ray_run()
    counting_loop.tick()

    use = GpuUse.read(7)

    assert use.in_pool("A100") == 8
    assert use.usage() == {run.project_id: 0.0}


def test_smaller_run_fills_what_the_head_does_not_need(counting_loop, unordered):
    unordered.begins = WORKING
    ray_run(6)
    counting_loop.tick()
    head = ray_run(8, queued_at=timezone.now() - timedelta(hours=1))
    small = ray_run(2, expected_seconds=1.0)

    counting_loop.tick()

    assert (is_submitted(head), is_submitted(small)) == (False, True)


def test_quota_counts_runs_that_their_cluster_has_not_started(counting_loop):
    first = ray_run(2)
    Quota.objects.create(project=first.project, max_gpus=3)
    second = ray_run(2, project=first.project)

    counting_loop.tick()
    counting_loop.tick()

    assert (is_submitted(first), is_submitted(second)) == (True, False)


def test_urgent_run_takes_the_place_of_one_that_its_cluster_has_not_started(
    counting_loop, unordered
):
    waiting = ray_run(preemptible=True)
    counting_loop.tick()
    urgent = ray_run(priority=50)

    counting_loop.tick()
    assert fresh(waiting).stop_kind == StopKind.PREEMPT
    counting_loop.tick()

    waiting = fresh(waiting)
    assert (waiting.status, waiting.worker, waiting.attempt) == (RunStatus.QUEUED, None, 2)
    assert is_submitted(urgent)
    assert EventKind.PREEMPTED in kinds(waiting)


def test_run_of_a_pool_that_was_deleted_is_not_submitted(counting_loop):
    run = ray_run()
    GpuPool.objects.all().delete()

    counting_loop.tick()

    assert not is_submitted(run)


def test_job_of_a_dead_worker_keeps_its_gpus(counting_loop, unordered):
    first, second = ray_run(), ray_run()
    counting_loop.tick()
    Worker.objects.update(last_heartbeat=timezone.now() - timedelta(hours=1))

    other = registered_for_ray(unordered, "other")
    other.tick()

    assert (fresh(first).worker, fresh(first).attempt) == (other.worker, 1)
    assert not is_submitted(second)


@pytest.mark.parametrize("stop_work", [True, False])
def test_job_of_a_worker_that_leaves_keeps_its_gpus(counting_loop, stop_work):
    run = ray_run()
    counting_loop.tick()

    counting_loop.leave(stop_work=stop_work, stop_seconds=1)

    assert is_submitted(run)


def test_engines_of_a_worker_have_slots_of_their_own(cluster, unordered, settings):
    settings.CLUSTER_JOBS = 1
    loop = WorkerLoop(name="both", executors={"slurm": cluster, "ray": unordered})
    loop.register()
    GpuPoolFactory(gpu_type="A100", capacity=8, executor="ray")
    runs = [slurm_run(), slurm_run(), ray_run(4), ray_run(4)]

    loop.tick()

    assert [is_submitted(run) for run in runs] == [True, False, True, False]


def test_run_that_was_paused_while_its_cluster_held_it_begins_another_attempt(loop, cluster):
    run = slurm_run()
    loop.tick()
    with transaction.atomic():
        fresh(run).request_stop(StopKind.PAUSE, by=None)

    loop.tick()

    assert (fresh(run).status, fresh(run).attempt) == (RunStatus.PAUSED, 2)


# --- workers ---------------------------------------------------------------------------------


def test_jobs_take_no_slots_of_processes(cluster, settings):
    settings.CLUSTER_JOBS = 2
    loop = registered(cluster, slots=1)
    for _number in range(3):
        slurm_run()

    loop.tick()

    assert Run.objects.held_by(loop.worker).count() == 2


def test_pools_of_this_host_do_not_hold_jobs_back(loop):
    GpuPoolFactory(gpu_type="A100", capacity=1)
    run = slurm_run(gpu_type="A100", gpu_count=8)

    claimed = claim(loop.worker, 1, executors=["slurm"])

    assert [item.pk for item in claimed] == [run.pk]
    assert claimed[0].devices == []


def test_worker_that_starts_again_goes_on_with_its_jobs(loop, cluster):
    run = slurm_run()
    loop.tick()

    again = registered(cluster)
    again.tick()

    assert (fresh(run).attempt, fresh(run).worker) == (1, again.worker)
    assert kinds(run)[-1] == EventKind.READOPTED


def test_job_of_a_dead_worker_goes_on_with_another(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WORKING
    loop.tick()
    type(loop.worker).objects.update(last_heartbeat=timezone.now() - timedelta(hours=1))

    other = registered(cluster, "other")
    other.tick()
    other.tick()

    run = fresh(run)
    assert (run.attempt, run.worker, run.status) == (1, other.worker, RunStatus.RUNNING)
    assert run.held_since is not None
    assert cluster.calls == ["start"]


def test_job_to_be_cancelled_goes_to_the_worker_that_finds_its_own_dead(loop, cluster):
    run = slurm_run()
    loop.tick()
    cluster.work = WORKING
    loop.tick()
    actions.cancel_run(run, by=None, wait_seconds=0)
    type(loop.worker).objects.update(last_heartbeat=timezone.now() - timedelta(hours=1))

    other = registered(cluster, "other")
    other.reap()

    assert (fresh(run).attempt, fresh(run).worker) == (1, other.worker)


@pytest.mark.parametrize("stop_work", [True, False])
def test_worker_that_leaves_lets_jobs_go_on(loop, cluster, stop_work):
    run = slurm_run()
    loop.tick()

    loop.leave(stop_work=stop_work, stop_seconds=1)

    assert cluster.calls == ["start"]
    assert (fresh(run).worker is None) == stop_work
    assert fresh(run).attempt == 1


def test_worker_with_jobs_that_wait_cannot_be_removed(loop):
    slurm_run()
    loop.tick()
    type(loop.worker).objects.update(last_heartbeat=timezone.now() - timedelta(hours=1))

    with pytest.raises(WorkerInUse):
        type(loop.worker).objects.get().remove(by=None)


def test_priority_of_a_run_in_its_clusters_queue_has_no_effect(loop):
    run = slurm_run()
    loop.tick()

    with pytest.raises(InvalidTransition):
        run.set_priority(5, by=None)


def test_worker_offers_slurm_only_where_it_works(monkeypatch, settings):
    monkeypatch.setattr(type(executors()["slurm"]), "works_here", lambda executor: False)
    assert set(offered_executors()) == {"simulated", "process"}

    settings.EXECUTORS_OFFERED = ["slurm", "process"]
    assert set(offered_executors()) == {"slurm", "process"}
