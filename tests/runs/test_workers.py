"""Workers that drain and that are removed, and the size of pools."""

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.models import Worker, WorkerInUse
from tests.factories import GpuPoolFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db


def dead(**fields):
    return WorkerFactory(last_heartbeat=timezone.now() - timedelta(hours=1), **fields)


def test_drained_worker_drains_until_it_is_undrained():
    worker = WorkerFactory()

    worker.drain(by=None)
    assert Worker.objects.get().draining
    worker.undrain(by=None)

    assert not Worker.objects.get().draining


def test_live_worker_is_not_removed():
    worker = WorkerFactory()

    with pytest.raises(WorkerInUse):
        worker.remove(by=None)

    assert Worker.objects.filter(pk=worker.pk).exists()


def test_dead_worker_with_runs_is_not_removed():
    worker = dead()
    running(worker)

    with pytest.raises(WorkerInUse):
        worker.remove(by=None)

    assert Worker.objects.filter(pk=worker.pk).exists()


@pytest.mark.parametrize("stopped", [True, False])
def test_worker_that_is_gone_is_removed(stopped):
    worker = WorkerFactory(stopped_at=timezone.now()) if stopped else dead()

    worker.remove(by=None)
    worker.remove(by=None)

    assert not Worker.objects.exists()


def test_pool_is_resized():
    pool = GpuPoolFactory(capacity=8)

    pool.resize(4)

    pool.refresh_from_db()
    assert pool.capacity == 4


def test_worker_is_alive_while_its_heartbeat_is_fresh(settings):
    settings.WORKER_LEASE_SECONDS = 30
    fresh = WorkerFactory()
    dead = WorkerFactory(last_heartbeat=timezone.now() - timedelta(seconds=31))
    stopped = WorkerFactory(stopped_at=timezone.now())

    assert list(Worker.objects.alive()) == [fresh]
    assert [worker.is_alive for worker in (fresh, dead, stopped)] == [True, False, False]
