"""Pools of the GPUs that workers find."""

import pytest

from core.exceptions import DomainError
from execution.pool_discovery import discover_pools
from runs.executors import FoundPool
from runs.models import GpuPool
from tests.factories import GpuPoolFactory, WorkerFactory

pytestmark = pytest.mark.django_db


class Cluster:
    """An executor that finds these pools."""

    def __init__(self, *found):
        self.found = found

    def pools(self):
        if not self.found:
            raise DomainError("away")
        return list(self.found)


def discover(**executors):
    discover_pools(executors or {"process": None})
    return {
        (pool.name, pool.executor, pool.cluster, pool.capacity) for pool in GpuPool.objects.all()
    }


def host(name, *models, uuids=None, **fields):
    count = range(len(models))
    return WorkerFactory(
        host=name,
        devices=[str(number) for number in count],
        device_uuids=uuids or [f"GPU-{name}-{number}" for number in count],
        device_models=list(models),
        **fields,
    )


def test_devices_of_hosts_become_pools_by_model():
    host("a", "A100-SXM4-80GB", "A100-SXM4-80GB")
    host("b", "A100-SXM4-80GB", "H100")

    assert discover() == {("A100-SXM4-80GB", "process", "", 3), ("H100", "process", "", 1)}


def test_workers_of_one_host_share_its_devices():
    host("a", "H100")
    host("a", "H100")

    assert discover() == {("H100", "process", "", 1)}


def test_devices_of_unknown_models_are_no_pool():
    host("a", "")

    assert discover() == set()


def test_capacity_follows_what_is_found():
    host("a", "H100")
    discover()
    host("b", "H100")

    assert discover() == {("H100", "process", "", 2)}


def test_pool_that_people_have_resized_stays_so():
    host("a", "H100")
    discover()
    GpuPool.objects.get().resize(8)
    host("b", "H100")

    assert discover() == {("H100", "process", "", 8)}


def test_pool_that_people_have_set_stands_for_the_type():
    GpuPoolFactory(gpu_type="H100", capacity=4)
    host("a", "H100")

    assert discover() == {("H100", "", "", 4)}


def test_pools_of_a_cluster_are_its_own():
    GpuPoolFactory(gpu_type="a100", capacity=4)

    found = discover(slurm=Cluster(FoundPool("a100", 16, "main"), FoundPool("a100", 8, "long")))

    assert found == {
        ("a100", "", "", 4),
        ("a100 slurm", "slurm", "main", 16),
        ("a100 slurm long", "slurm", "long", 8),
    }


def test_cluster_that_is_away_changes_nothing():
    discover(slurm=Cluster(FoundPool("a100", 16, "main")))

    assert discover(slurm=Cluster()) == {("a100", "slurm", "main", 16)}


def test_pool_whose_nodes_have_left_the_cluster_is_empty():
    discover(ray=Cluster(FoundPool("A100", 16), FoundPool("H100", 8)))

    found = discover(ray=Cluster(FoundPool("H100", 8)))

    assert found == {("A100", "ray", "", 0), ("H100", "ray", "", 8)}


def test_short_name_finds_the_only_model_that_begins_so():
    host("a", "A100-SXM4-80GB")
    discover()

    pool = GpuPool.objects.for_run("process", "A100", 1)

    assert pool.name == "A100-SXM4-80GB"
