"""A real Ray that wants a token."""

import pytest
from django.utils import translation

from execution.executors.ray.client import Jobs, RayAway
from execution.executors.ray.executor import RayExecutor
from execution.worker import WorkerLoop
from runs.executors import FoundPool
from runs.status import RunStatus
from tests.execution.worker_loops import over
from tests.factories import RecipeFactory, RunFactory
from tests.ray.cluster import GPUS, Cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

TOKEN = "a-token-of-this-test-" + "0" * 16


@pytest.fixture(scope="module")
def started_cluster():
    """Of one node. Shadows the one without a token."""
    cluster = Cluster(token=TOKEN)
    try:
        cluster.start_head()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def token(cluster, settings):
    settings.RAY_TOKEN = TOKEN


def test_run_trains_on_a_cluster_that_wants_a_token():
    loop = WorkerLoop(name="ray", slots=1, executors={"ray": RayExecutor()}, tick_seconds=0.05)
    loop.register()
    recipe = RecipeFactory(executor="ray", command=["{python}", "-c", "print('trained')"])
    run = RunFactory(recipe=recipe, total_steps=None)

    wait_until(lambda: loop.tick() or over(run), seconds=90, every=0.1)

    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED
    assert "trained" in run.log_lines.values_list("message", flat=True)


def test_its_gpus_are_found():
    assert RayExecutor().pools() == [FoundPool("gpu", GPUS)]


@pytest.mark.parametrize("wrong", ["", "another-token-" + "0" * 16])
def test_cluster_that_does_not_accept_the_token_is_away(settings, wrong):
    settings.RAY_TOKEN = wrong

    for question in (lambda: Jobs().get("x"), lambda: Jobs().nodes()):
        with translation.override("en"), pytest.raises(RayAway, match="TRAINHUB_RAY_TOKEN"):
            question()
