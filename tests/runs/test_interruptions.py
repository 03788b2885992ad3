"""Pausing a run by hand and continuing it, and how runs that were to stop for a while end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution.executors.simulated import SimulatedExecutor
from execution.scheduling.claiming import claim
from execution.worker import WorkerLoop
from runs import actions
from runs.executors import WorkState, WorkStatus
from runs.interruptions import continue_run, pause_run
from runs.models import EventKind, ExecutorName, Run, StopKind, Worker
from runs.status import InvalidTransition, RunStatus
from tests.factories import RunFactory, UserFactory, WorkerFactory, running, unmanaged_run

pytestmark = pytest.mark.django_db

EARLIER = timezone.now() - timedelta(hours=1)


def simulated_loop(steps):
    executor = SimulatedExecutor(steps_per_poll=steps)
    loop = WorkerLoop(slots=8, executors={ExecutorName.SIMULATED: executor})
    loop.register()
    return loop


def fresh(run):
    return Run.objects.select_related("recipe", "project", "worker").get(pk=run.pk)


# --- pause -----------------------------------------------------------------------------------


def test_queued_run_is_paused_at_once_and_not_claimed():
    run, user = RunFactory(), UserFactory()

    paused = pause_run(run, by=user)

    assert (paused.status, paused.attempt) == (RunStatus.PAUSED, 1)
    assert paused.events.get().actor == user
    assert claim(WorkerFactory(), slots=1) == []


def test_held_run_is_asked_to_stop():
    run = running()

    pausing = pause_run(run, by=None, wait_seconds=0)

    assert (pausing.status, pausing.stop_kind) == (RunStatus.RUNNING, StopKind.PAUSE)
    assert pausing.stop_requested_at is not None


def test_pause_is_idempotent():
    run = RunFactory()
    pause_run(run, by=None)

    pause_run(run, by=None)

    assert fresh(run).events.filter(kind=EventKind.PAUSED).count() == 1


def test_paused_training_goes_on_from_its_checkpoint():
    run = RunFactory(hyperparameters={"max_steps": 100})
    loop = simulated_loop(steps=30)
    [claimed] = loop.claim()
    loop.driver.advance(claimed)
    pause_run(run, by=None, wait_seconds=0)
    while fresh(run).worker is not None:
        loop.driver.advance(fresh(run))
    paused = fresh(run)

    continue_run(paused, by=None)
    [again] = loop.claim()
    for _pass in range(10):
        if not fresh(run).is_terminal:
            loop.driver.advance(fresh(run))

    assert (paused.status, paused.worker, paused.stop_kind) == (RunStatus.PAUSED, None, "")
    assert paused.step >= 30
    assert again.attempt == 2
    done = fresh(run)
    assert (done.status, done.step, done.restart_count) == (RunStatus.COMPLETED, 100, 0)


@pytest.mark.parametrize(
    "fields",
    [{"status": RunStatus.COMPLETED}, {"status": RunStatus.FAILED}],
)
def test_run_that_has_ended_is_not_paused(fields):
    with pytest.raises(InvalidTransition):
        pause_run(RunFactory(**fields), by=None)


def test_unmanaged_run_is_not_paused():
    with pytest.raises(InvalidTransition):
        pause_run(unmanaged_run(), by=None)


def test_run_that_is_being_cancelled_is_not_paused():
    run = running()
    run.request_stop(StopKind.CANCEL, by=None)

    with pytest.raises(InvalidTransition):
        pause_run(run, by=None)


def test_cancel_overrides_a_pause():
    run = running()
    pause_run(run, by=None, wait_seconds=0)

    cancelled = actions.cancel_run(run, by=None, wait_seconds=0)

    assert cancelled.stop_kind == StopKind.CANCEL or cancelled.status == RunStatus.CANCELLED


def test_paused_run_is_cancelled_at_once():
    run = RunFactory()
    pause_run(run, by=None)

    assert actions.cancel_run(run, by=None).status == RunStatus.CANCELLED


# --- continue --------------------------------------------------------------------------------


def test_continued_run_is_queued_behind_those_that_wait():
    run = RunFactory(queued_at=EARLIER)
    other = RunFactory()
    pause_run(run, by=None)

    continue_run(run, by=None)

    assert claim(WorkerFactory(), slots=2) == [other, run]
    assert fresh(run).events.filter(kind=EventKind.CONTINUED).exists()


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLED])
def test_run_that_is_not_paused_is_not_continued(status):
    with pytest.raises(InvalidTransition):
        continue_run(RunFactory(status=status), by=None)


# --- the end of the work ---------------------------------------------------------------------


def settled(kind, work):
    run = running()
    run.request_stop(kind, by=None)
    actions.settle(fresh(run), work, worker=run.worker)
    return fresh(run)


@pytest.mark.parametrize("state", [WorkState.STOPPED, WorkState.DIED])
@pytest.mark.parametrize(
    ("kind", "status"),
    [(StopKind.PAUSE, RunStatus.PAUSED), (StopKind.PREEMPT, RunStatus.QUEUED)],
)
def test_stopped_run_waits_to_go_on(kind, status, state):
    run = settled(kind, WorkStatus(state))

    assert (run.status, run.worker, run.restart_count) == (status, None, 0)


@pytest.mark.parametrize("kind", [StopKind.PAUSE, StopKind.PREEMPT])
def test_run_that_completes_before_it_stops_is_completed(kind):
    assert settled(kind, WorkStatus(WorkState.FINISHED)).status == RunStatus.COMPLETED


@pytest.mark.parametrize("kind", [StopKind.PAUSE, StopKind.PREEMPT])
def test_run_that_fails_before_it_stops_has_failed(kind):
    assert settled(kind, WorkStatus(WorkState.FAILED, exit_code=1)).status == RunStatus.FAILED


def test_pause_survives_the_death_of_its_worker():
    run = running()
    pause_run(run, by=None, wait_seconds=0)
    Worker.objects.filter(pk=run.worker_id).update(last_heartbeat=EARLIER)

    simulated_loop(steps=1).reap()

    assert fresh(run).status == RunStatus.PAUSED


def test_run_preempted_by_a_dead_worker_s_claim_goes_on():
    run = running()
    run.request_stop(StopKind.PREEMPT, by=None)
    Worker.objects.filter(pk=run.worker_id).update(last_heartbeat=EARLIER)

    simulated_loop(steps=1).reap()

    again = fresh(run)
    assert (again.status, again.worker, again.stop_kind) == (RunStatus.RUNNING, None, "")
