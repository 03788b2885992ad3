"""Fixtures of the execution tests."""

import pytest

from execution.executors import attempt as attempts
from execution.executors import found_checkpoint
from tests.execution.worker_loops import worker_loop


@pytest.fixture(autouse=True)
def no_process_survives(own_files):
    yield
    for run_id in attempts.local_runs():
        attempts.forget(run_id)


@pytest.fixture
def short_settle_time(monkeypatch):
    """Checkpoints count as complete sooner: the scripts of these tests write them atomically."""
    monkeypatch.setattr(found_checkpoint, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(found_checkpoint, "SETTLED_FOLDER_SECONDS", 0.05)


@pytest.fixture
def loop():
    loop = worker_loop()
    loop.register()
    return loop
