"""The worker and runs in the queue of a cluster, whose state the tests decide."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core.messages import Message
from execution.scheduling.claiming import claim
from execution.worker import WorkerLoop, offered_executors
from runs import actions
from runs.executors import WorkState, WorkStatus, executors
from runs.held_time import held_time
from runs.models import EventKind, FailureKind, Run, WorkerInUse
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

    def tidy(self):
        """Nothing to tidy."""


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
        fresh(run).continue_after(
            Message("It ended."), failure_kind=FailureKind.TIME_LIMIT, checkpoint_step=step
        )

    assert (fresh(run).attempt, fresh(run).status) == (4, RunStatus.QUEUED)


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
