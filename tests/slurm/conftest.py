"""A real Slurm for the tests of this folder: make test-slurm."""

import getpass
import os

import pytest

from execution.executors import attempt as attempts
from execution.executors import found_checkpoint
from execution.executors.slurm.executor import SlurmExecutor
from runs.models import Run
from tests.slurm.cluster import Cluster, missing


def pytest_collection_modifyitems(items):
    reason = missing() or ("" if os.environ.get("TEST_SLURM") else "run by make test-slurm")
    for item in items:
        if reason and "tests/slurm" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def started_cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def cluster(started_cluster, monkeypatch, settings):
    for name, value in started_cluster.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USER", getpass.getuser())
    settings.SLURM_POLL_SECONDS = 0.2
    yield started_cluster
    started_cluster.end_all_jobs()


@pytest.fixture(autouse=True)
def short_settle_time(monkeypatch):
    monkeypatch.setattr(found_checkpoint, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(found_checkpoint, "SETTLED_FOLDER_SECONDS", 0.05)


@pytest.fixture
def executor():
    return SlurmExecutor()


@pytest.fixture(autouse=True)
def no_job_survives(own_files, cluster):
    yield
    executor = SlurmExecutor()
    for run_id in attempts.local_runs():
        executor.forget(Run(pk=run_id))
