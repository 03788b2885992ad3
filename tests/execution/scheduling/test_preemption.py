"""Preemptible runs give up their GPUs, with a checkpoint, and keep their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.scheduling.claiming import claim
from execution.scheduling.preemption import smallest_set
from runs import attempts
from runs.interruptions import is_preemption
from runs.models import EventKind, Recipe, RecipeKind, Run, StopKind
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, RecipeFactory, RunFactory, WorkerFactory, running

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
    run = urgent(4, project=victim.project)

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


def test_gpus_kept_for_evaluations_are_not_counted_for_a_training():
    GpuPoolFactory(capacity=8, reserve=2)
    held(2), held(2), held(2)
    urgent(4)

    claim(WorkerFactory(), slots=1)

    assert len(stopping()) == 2


def test_evaluation_releases_no_common_gpus_for_a_training():
    GpuPoolFactory(capacity=8, reserve=2)
    evaluation = held(2, priority=-1, recipe=RecipeFactory(), kind=RecipeKind.EVALUATION)
    held(2), held(2), held(2)
    urgent(4)

    claim(WorkerFactory(), slots=1)

    assert len(stopping()) == 2
    assert evaluation.pk not in stopping()


def devices(host, *, preemptible):
    """A worker on a host of 8 devices, with runs that hold 2 and 3 of them."""
    worker = WorkerFactory(host=host, executors=["process"], devices=[str(n) for n in range(8)])
    fields = {"gpu_type": "A100", "recipe": process(), "worker": worker, "expected_seconds": 9000}
    running(gpu_count=2, devices=["0", "1"], preemptible=preemptible, **fields)
    running(gpu_count=3, devices=["2", "3", "4"], preemptible=False, **fields)
    return worker


def process():
    return Recipe.objects.filter(executor="process").first() or RecipeFactory(executor="process")


def test_devices_of_other_hosts_are_not_counted():
    GpuPoolFactory(capacity=16)
    worker = devices("a", preemptible=True)
    devices("b", preemptible=False)
    urgent(5, recipe=process())

    claim(worker, slots=1)

    [victim] = stopping()
    assert Run.objects.get(pk=victim).worker == worker


def test_runs_stop_on_one_host_alone():
    GpuPoolFactory(capacity=16)
    workers = [devices(host, preemptible=True) for host in ("a", "b")]
    urgent(5, recipe=process())

    for worker in workers * 2:
        claim(worker, slots=1)

    assert len(stopping()) == 1


def test_nobody_is_preempted_if_the_host_would_still_lack_devices():
    GpuPoolFactory(capacity=16)
    workers = [devices(host, preemptible=True) for host in ("a", "b")]
    urgent(6, recipe=process())

    for worker in workers:
        claim(worker, slots=1)

    assert stopping() == set()


def test_host_that_does_not_serve_the_pool_is_not_waited_for():
    GpuPoolFactory(capacity=8, hosts=["a"])
    worker = devices("a", preemptible=True)
    WorkerFactory(host="b", executors=["process"], devices=[str(n) for n in range(8)])
    urgent(5, recipe=process())

    claim(worker, slots=1)

    assert len(stopping()) == 1


def test_run_claimed_last_is_counted():
    """As many are asked to stop as are needed beside the run that this claim has started."""
    GpuPoolFactory(capacity=8)
    held(3, expected_seconds=9000), held(3, expected_seconds=9000)
    urgent(4)
    short = RunFactory(gpu_type="A100", gpu_count=2, expected_seconds=1)

    assert claim(WorkerFactory(), slots=1) == [short]

    assert len(stopping()) == 2


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

    attempts.interrupt(victim, StopKind.PREEMPT, reason="")

    victim.refresh_from_db()
    assert (victim.status, victim.queued_at, victim.priority) == (RunStatus.QUEUED, before, 1)
    assert (victim.attempt, victim.restart_count, victim.worker) == (2, 1, None)
    assert (victim.stop_kind, victim.stop_requested_at, victim.devices) == ("", None, [])


@given(
    st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.booleans()), max_size=8).map(
        lambda counts: [
            (str(number), (count, count * common, count * host))
            for number, (count, common, host) in enumerate(counts)
        ]
    ),
    st.tuples(st.integers(-2, 20), st.integers(-2, 20), st.integers(1, 8)),
)
def test_smallest_set_suffices_and_nobody_could_be_spared(victims, needed):
    chosen = smallest_set(victims, needed)

    released = dict(victims)

    def suffice(names):
        sums = [sum(released[name][supply] for name in names) for supply in range(3)]
        return all(total >= count for total, count in zip(sums, needed, strict=True))

    if chosen:
        assert suffice(chosen)
        assert not any(suffice(set(chosen) - {name}) for name in chosen)
    else:
        assert not suffice(released)


def test_run_of_another_project_is_not_named():
    GpuPoolFactory(capacity=8)
    victim, run = held(8), urgent(4)
    assert victim.project_id != run.project_id

    claim(WorkerFactory(), slots=1)

    reason = victim.events.get(kind=EventKind.STOP_REQUESTED).reason
    assert is_preemption(reason)
    assert run.pk not in str(reason)
