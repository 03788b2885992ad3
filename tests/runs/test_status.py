"""The table of statuses, and the checks on transitions between them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs import attempts
from runs.models import MAX_ATTEMPT, EventKind, Run, RunEvent, StopKind, Worker
from runs.status import ACTIVE, TERMINAL, TRANSITIONS, InvalidTransition, RunStatus, sources
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import RunFactory, UserFactory, WorkerFactory, running

with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- the table -------------------------------------------------------------------------------


def test_table_has_every_status():
    assert set(TRANSITIONS) == set(RunStatus)


def test_terminal_and_active_statuses():
    assert {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED} == TERMINAL
    assert {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED} == ACTIVE


@pytest.mark.parametrize("to", RunStatus)
def test_sources_are_the_table_reversed(to):
    assert {(source, to) for source in sources(to)} == {
        (source, target)
        for source, targets in TRANSITIONS.items()
        for target in targets
        if target == to
    }


@pytest.mark.parametrize("to", [to for to in RunStatus if to != RunStatus.PAUSED])
def test_unmanaged_run_may_report_any_other_status(to):
    assert sources(to, unmanaged=True) == set(RunStatus) - {to, RunStatus.PAUSED}


def test_unmanaged_run_is_never_paused():
    assert sources(RunStatus.PAUSED, unmanaged=True) == frozenset()


def test_values_are_those_of_the_contract():
    assert RunStatus.values == ["排队中", "运行中", "已暂停", "已完成", "已失败", "已取消"]


# --- transition ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transition:
    source: RunStatus
    to: RunStatus

    @property
    def is_allowed(self):
        return self.to in TRANSITIONS[self.source]


ALL_TRANSITIONS = [Transition(source, to) for source in RunStatus for to in RunStatus]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "transition", [item for item in ALL_TRANSITIONS if item.is_allowed], ids=str
)
def test_allowed_transition_changes_the_status_with_an_event(transition):
    run = RunFactory(status=transition.source)

    run.transition(transition.to, reason="because")

    event = run.events.get()
    assert run.status == Run.objects.get(pk=run.pk).status == transition.to
    assert (event.from_status, event.to_status) == (transition.source, transition.to)
    assert event.reason == run.status_reason == "because"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "transition", [item for item in ALL_TRANSITIONS if not item.is_allowed], ids=str
)
def test_forbidden_transition_changes_nothing(transition):
    run = RunFactory(status=transition.source)

    with pytest.raises(InvalidTransition):
        run.transition(transition.to)

    run.refresh_from_db()
    assert run.status == transition.source
    assert not run.events.exists()


@pytest.mark.django_db
def test_transition_checks_the_status_in_the_database():
    run = running()
    stale = Run.objects.get(pk=run.pk)
    run.transition(RunStatus.COMPLETED)

    with pytest.raises(InvalidTransition):
        stale.transition(RunStatus.CANCELLED)

    assert Run.objects.get(pk=run.pk).status == RunStatus.COMPLETED


@pytest.mark.django_db
def test_transition_records_user_and_worker():
    worker, user = WorkerFactory(), UserFactory()
    run = running(worker)

    run.transition(RunStatus.CANCELLED, by=user)

    event = run.events.get()
    assert (event.kind, event.actor, event.worker) == (EventKind.STATUS, user, worker)


@pytest.mark.django_db
def test_end_releases_the_worker_and_sets_finished_at():
    run = running()

    run.transition(RunStatus.FAILED, exit_code=3)

    assert run.worker is None
    assert run.exit_code == 3
    assert run.finished_at is not None


@pytest.mark.django_db
def test_transition_and_event_are_atomic():
    run = running()

    with transaction.atomic():
        run.transition(RunStatus.COMPLETED)
        transaction.set_rollback(True)

    assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING
    assert not RunEvent.objects.exists()


@with_two_connections
def test_one_of_several_concurrent_transitions_wins():
    run = running()
    ends = [RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.FAILED]

    results = in_parallel(
        *(lambda end=end: Run.objects.get(pk=run.pk).transition(end) for end in ends)
    )

    run.refresh_from_db()
    event = run.events.get()
    assert [type(result) for result in results if result] == [InvalidTransition] * 2
    assert run.status == event.to_status == ends[results.index(None)]


@with_two_connections
def test_transition_waits_for_a_concurrent_one_and_sees_its_result():
    run = running()

    with transaction_elsewhere(lambda: Run.objects.get(pk=run.pk).transition(RunStatus.COMPLETED)):
        assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING  # not committed yet

    with pytest.raises(InvalidTransition):
        run.transition(RunStatus.CANCELLED)


# --- constraints of the database -------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"status": "running"},
        {"status": RunStatus.COMPLETED},
        {"finished_at": datetime(2024, 1, 2, tzinfo=UTC)},
        {"progress": 1.5},
        {"progress": -0.1},
        {"progress": float("nan")},
    ],
    ids=str,
)
def test_database_refuses_an_inconsistent_run(change):
    run = RunFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**change)


@pytest.mark.django_db
def test_change_never_writes_the_status():
    with pytest.raises(AssertionError):
        RunFactory().change(status=RunStatus.COMPLETED)


# --- requests and releases -------------------------------------------------------------------


@pytest.mark.django_db
def test_stop_request_is_idempotent():
    run = running()

    run.request_stop(StopKind.CANCEL, by=None)
    first = run.stop_requested_at
    run.request_stop(StopKind.CANCEL, by=None)

    assert run.stop_requested_at == first
    assert run.events.filter(kind=EventKind.STOP_REQUESTED).count() == 1
    assert run.is_stopping


@pytest.mark.django_db
def test_stop_of_an_ended_run_is_refused():
    with pytest.raises(InvalidTransition):
        RunFactory(status=RunStatus.COMPLETED).request_stop(StopKind.CANCEL, by=None)


@pytest.mark.django_db
def test_kind_of_failure_is_cleared_when_the_run_continues():
    run = RunFactory(status=RunStatus.RUNNING, recipe=None)
    run.transition(RunStatus.FAILED, failure_kind="stalled")

    run.transition(RunStatus.RUNNING, finished_at=None, failure_kind="stalled")

    assert run.failure_kind == ""


@pytest.mark.django_db
def test_recovery_counts_until_no_restart_is_left():
    run = running(max_restarts=1)

    attempts.recover(run, "It died.")
    assert (run.attempt, run.restart_count, run.worker) == (2, 1, None)
    attempts.recover(run, "It died.")

    assert run.status == RunStatus.FAILED
    assert "It died." in str(run.status_reason)
    assert list(run.events.values_list("kind", flat=True)) == ["recovered", "status"]


@pytest.mark.django_db
def test_recovery_keeps_the_exit_code_when_no_restart_is_left():
    run = running(max_restarts=0)

    attempts.recover(run, "It died.", exit_code=-9)

    assert (run.status, run.exit_code) == (RunStatus.FAILED, -9)


@pytest.mark.django_db
def test_only_a_checkpoint_later_than_ever_refills_the_restarts():
    run = running(max_restarts=9, start_step=50)
    counts = []

    for step in (None, 50, 80, 80, 70, 81):
        attempts.recover(run, "It died.", checkpoint_step=step)
        counts.append(run.restart_count)

    assert counts == [1, 2, 1, 2, 3, 1]


@pytest.mark.django_db
def test_death_of_a_worker_counts_as_no_restart():
    run = running(max_restarts=0, devices=["0"])

    attempts.continue_elsewhere(run, "Its worker died.")

    assert (run.attempt, run.restart_count, run.worker, run.devices) == (2, 0, None, [])


@pytest.mark.django_db
def test_run_at_the_last_possible_attempt_fails():
    run = running(attempt=MAX_ATTEMPT)

    attempts.recover(run, "It died.")

    assert run.status == RunStatus.FAILED


@pytest.mark.django_db
def test_lost_runs_are_those_with_an_expired_lease(settings):
    settings.WORKER_LEASE_SECONDS = 30
    dead = WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=31))
    lost = running(dead)
    running(WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=20)))
    RunFactory(status=RunStatus.RUNNING)  # unclaimed, so it has no lease

    assert list(Run.objects.lost()) == [lost]


@pytest.mark.django_db
def test_worker_does_not_hold_runs_of_another_incarnation():
    worker = WorkerFactory()
    running(worker)
    Worker.objects.update(incarnation=2)

    assert not Run.objects.held_by(worker).exists()


@pytest.mark.django_db
def test_end_of_a_run_takes_eight_queries(django_assert_num_queries):
    run = running()

    # savepoint, lock, update, event, time held, who is to be told, release, read back
    with django_assert_num_queries(8):
        run.transition(RunStatus.COMPLETED)
