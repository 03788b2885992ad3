import pytest

from runs.executors import attempt as attempts
from runs.executors import checkpoint_files


@pytest.fixture(autouse=True)
def no_process_survives(own_files):
    yield
    for run_id in attempts.local_runs():
        attempts.forget(run_id)


@pytest.fixture
def quick_to_settle(monkeypatch):
    """Checkpoints count as whole sooner: the scripts of these tests rename what is whole."""
    monkeypatch.setattr(checkpoint_files, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(checkpoint_files, "SETTLED_FOLDER_SECONDS", 0.05)
