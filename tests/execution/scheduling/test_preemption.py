"""Preemptible runs give up their GPUs, with a checkpoint, and keep their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.scheduling.claiming import claim
from execution.scheduling.preemption import smallest_set
from runs.models import EventKind, Run, StopKind
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db


def held(count, **fields):
    return running(gpu_type="A100", gpu_count=count, preemptible=True, **fields)


def urgent(count, **fields):
    return RunFactory(gpu_type="A100", gpu_count=count, priority=5, **fields)


def stopping():
    return set(Run.objects.filter(stop_kind=StopKind.PREEMPT).values_list("pk", flat=True))


def test_run_of_lower_priority_is_asked_to_stop():
    GpuPoolFactory(capacity=8)
    victim = held(8)
    run = urgent(4)

    assert claim(WorkerFactory(), slots=1) == []

    assert stopping() == {victim.pk}
    event = victim.events.get(kind=EventKind.STOP_REQUESTED)
    assert run.pk in str(event.reason)


@pytest.mark.parametrize(
    "fields", [{"priority": 5}, {"preemptible": False}], ids=["as urgent", "not preemptible"]
)
def test_other_runs_go_on(fields):
    GpuPoolFactory(capacity=8)
    running(**{"gpu_type": "A100", "gpu_count": 8, "preemptible": True} | fields)
    urgent(4)

    claim(WorkerFactory(), slots=1)

    assert stopping() == set()


def test_nothing_is_preempted_if_that_is_not_enough():
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=6)
    held(2)
    urgent(4)

    claim(WorkerFactory(), slots=1)

    assert stopping() == set()


def test_no_more_is_preempted_while_the_first_still_saves():
    GpuPoolFactory(capacity=8)
    held(4), held(4)
    urgent(4)
    worker = WorkerFactory()

    claim(worker, slots=1)
    claim(worker, slots=1)

    assert len(stopping()) == 1


def test_preempted_run_is_queued_with_its_place_and_next_attempt():
    GpuPoolFactory(capacity=8)
    victim = held(8, priority=1, restart_count=1)
    Run.objects.filter(pk=victim.pk).update(attempt_started_at=victim.started_at)
    victim = Run.objects.get(pk=victim.pk)
    before = victim.queued_at

    victim.interrupt(StopKind.PREEMPT, reason="")

    victim.refresh_from_db()
    assert (victim.status, victim.queued_at, victim.priority) == (RunStatus.QUEUED, before, 1)
    assert (victim.attempt, victim.restart_count, victim.worker) == (2, 1, None)
    assert (victim.stop_kind, victim.stop_requested_at, victim.devices) == ("", None, [])


@given(
    st.lists(st.integers(1, 8), max_size=8).map(
        lambda counts: [(str(n), count) for n, count in enumerate(counts)]
    ),
    st.integers(1, 20),
)
def test_smallest_set_suffices_and_nobody_could_be_spared(victims, needed):
    chosen = smallest_set(victims, needed)

    sizes = dict(victims)
    total = sum(sizes[pk] for pk in chosen)
    if chosen:
        assert total >= needed
        assert all(total - sizes[pk] < needed for pk in chosen)
    else:
        assert sum(sizes.values()) < needed
