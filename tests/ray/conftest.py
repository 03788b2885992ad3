"""A real Ray for the tests of this folder: make test-ray."""

import os

import pytest

from execution.executors import attempt as attempts
from execution.executors import found_checkpoint
from execution.executors.ray.executor import RayExecutor
from runs.models import Run
from tests.ray.cluster import Cluster, missing


def pytest_collection_modifyitems(items):
    reason = missing() or ("" if os.environ.get("TEST_RAY") else "run by make test-ray")
    for item in items:
        if reason and "tests/ray" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def started_cluster():
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def cluster(started_cluster, settings):
    settings.RAY_ADDRESS = started_cluster.address
    settings.RAY_POLL_SECONDS = 0.2
    settings.NODE_WORK_DIR = str(started_cluster.node_dir)
    return started_cluster


@pytest.fixture(autouse=True)
def public_url(live_server, settings):
    """Where launchers report: a web server in this process."""
    settings.PUBLIC_URL = live_server.url


@pytest.fixture(autouse=True)
def short_settle_time(monkeypatch):
    monkeypatch.setattr(found_checkpoint, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(found_checkpoint, "SETTLED_FOLDER_SECONDS", 0.05)


@pytest.fixture
def executor():
    return RayExecutor()


@pytest.fixture(autouse=True)
def no_job_survives(own_files, cluster, public_url):
    yield
    executor = RayExecutor()
    for run_id in attempts.local_runs():
        executor.forget(Run(pk=run_id))
    cluster.end_trainings()
