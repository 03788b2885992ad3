"""The table of statuses, and the guard on the way from one to the next."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.models import EventKind, Run, RunEvent, StopKind, Worker
from runs.status import ACTIVE, TERMINAL, TRANSITIONS, InvalidTransition, RunStatus, sources
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import RunFactory, UserFactory, WorkerFactory, running

with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- the table -------------------------------------------------------------------------------


def test_table_knows_every_status():
    assert set(TRANSITIONS) == set(RunStatus)


def test_terminal_statuses_lead_nowhere_and_active_ones_somewhere():
    assert {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED} == TERMINAL
    assert {RunStatus.QUEUED, RunStatus.RUNNING} == ACTIVE


@pytest.mark.parametrize("to", RunStatus)
def test_sources_are_the_table_reversed(to):
    assert {(source, to) for source in sources(to)} == {
        (source, target)
        for source, targets in TRANSITIONS.items()
        for target in targets
        if target == to
    }


@pytest.mark.parametrize("to", RunStatus)
def test_script_elsewhere_may_go_on_after_its_end_and_correct_it(to):
    ways = {
        RunStatus.QUEUED: set(),
        RunStatus.RUNNING: {RunStatus.QUEUED, *TERMINAL},
        RunStatus.COMPLETED: {RunStatus.RUNNING, *TERMINAL} - {to},
        RunStatus.FAILED: {RunStatus.QUEUED, RunStatus.RUNNING, *TERMINAL} - {to},
        RunStatus.CANCELLED: {RunStatus.QUEUED, RunStatus.RUNNING, *TERMINAL} - {to},
    }

    assert sources(to, external=True) == ways[to]


def test_values_are_the_contracts_words():
    assert RunStatus.values == ["排队中", "运行中", "已完成", "已失败", "已取消"]


# --- transition ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    source: RunStatus
    to: RunStatus

    @property
    def is_allowed(self):
        return self.to in TRANSITIONS[self.source]


WAYS = [Way(source, to) for source in RunStatus for to in RunStatus]


@pytest.mark.django_db
@pytest.mark.parametrize("way", [way for way in WAYS if way.is_allowed], ids=str)
def test_transition_that_the_table_allows_is_made_and_noted(way):
    run = RunFactory(status=way.source)

    run.transition(way.to, reason="because")

    event = run.events.get()
    assert run.status == Run.objects.get(pk=run.pk).status == way.to
    assert (event.from_status, event.to_status) == (way.source, way.to)
    assert event.reason == run.status_reason == "because"


@pytest.mark.django_db
@pytest.mark.parametrize("way", [way for way in WAYS if not way.is_allowed], ids=str)
def test_transition_that_the_table_forbids_changes_nothing(way):
    run = RunFactory(status=way.source)

    with pytest.raises(InvalidTransition):
        run.transition(way.to)

    run.refresh_from_db()
    assert run.status == way.source
    assert not run.events.exists()


@pytest.mark.django_db
def test_transition_goes_by_the_database_not_by_the_object_at_hand():
    run = running()
    stale = Run.objects.get(pk=run.pk)
    run.transition(RunStatus.COMPLETED)

    with pytest.raises(InvalidTransition):
        stale.transition(RunStatus.CANCELLED)

    assert Run.objects.get(pk=run.pk).status == RunStatus.COMPLETED


@pytest.mark.django_db
def test_transition_says_who_and_under_which_worker():
    worker, user = WorkerFactory(), UserFactory()
    run = running(worker)

    run.transition(RunStatus.CANCELLED, by=user)

    event = run.events.get()
    assert (event.kind, event.actor, event.worker) == (EventKind.STATUS, user, worker)


@pytest.mark.django_db
def test_end_frees_the_worker_and_is_dated():
    run = running()

    run.transition(RunStatus.FAILED, exit_code=3)

    assert run.worker is None
    assert run.exit_code == 3
    assert run.finished_at is not None


@pytest.mark.django_db
def test_transition_and_event_are_there_together_or_not_at_all():
    run = running()

    with transaction.atomic():
        run.transition(RunStatus.COMPLETED)
        transaction.set_rollback(True)

    assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING
    assert not RunEvent.objects.exists()


@with_two_connections
def test_of_two_transitions_at_once_one_wins():
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
def test_transition_waits_for_another_and_then_sees_what_it_did():
    run = running()

    with transaction_elsewhere(lambda: Run.objects.get(pk=run.pk).transition(RunStatus.COMPLETED)):
        assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING  # not committed yet

    with pytest.raises(InvalidTransition):
        run.transition(RunStatus.CANCELLED)


# --- what the database itself refuses --------------------------------------------------------


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
def test_database_refuses_a_run_that_cannot_be(change):
    run = RunFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**change)


@pytest.mark.django_db
def test_change_never_writes_the_status():
    with pytest.raises(AssertionError):
        RunFactory().change(status=RunStatus.COMPLETED)


# --- requests and releases -------------------------------------------------------------------


@pytest.mark.django_db
def test_stop_asked_for_twice_is_asked_for_once():
    run = running()

    run.request_stop(StopKind.CANCEL, by=None)
    first = run.stop_requested_at
    run.request_stop(StopKind.CANCEL, by=None)

    assert run.stop_requested_at == first
    assert run.events.filter(kind=EventKind.STOP_REQUESTED).count() == 1
    assert run.is_stopping


@pytest.mark.django_db
def test_stop_of_a_run_that_is_over_is_refused():
    with pytest.raises(InvalidTransition):
        RunFactory(status=RunStatus.COMPLETED).request_stop(StopKind.CANCEL, by=None)


@pytest.mark.django_db
def test_recovery_counts_until_no_restart_is_left():
    run = running(max_restarts=1)

    run.recover("It died.")
    assert (run.attempt, run.restart_count, run.worker) == (2, 1, None)
    run.recover("It died.")

    assert run.status == RunStatus.FAILED
    assert "It died." in run.status_reason
    assert list(run.events.values_list("kind", flat=True)) == ["recovered", "status"]


@pytest.mark.django_db
def test_lost_runs_are_those_whose_lease_has_run_out(settings):
    settings.WORKER_LEASE_SECONDS = 30
    silent = WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=31))
    lost = running(silent)
    running(WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=20)))
    RunFactory(status=RunStatus.RUNNING)  # nobody's: nobody can lose it

    assert list(Run.objects.lost()) == [lost]


@pytest.mark.django_db
def test_runs_of_a_former_incarnation_are_not_held():
    worker = WorkerFactory()
    running(worker)
    Worker.objects.update(incarnation=2)

    assert not Run.objects.held_by(worker).exists()


@pytest.mark.django_db
def test_queries_of_a_transition(django_assert_num_queries):
    run = running()

    # savepoint, lock, update, event, release, read back
    with django_assert_num_queries(6):
        run.transition(RunStatus.COMPLETED)
