"""Workers apply policies of checkpoints and purge their trash."""

from datetime import timedelta

import pytest
from django.utils import timezone

from artifacts.checkpoint_deletions import CheckpointDeletion, DeletionState
from artifacts.models import Artifact
from registry.checkpoint_policy import set_policy
from runs.status import RunStatus
from tests.execution.worker_loops import worker_loop
from tests.factories import RunFactory, checkpoint, stored_path

pytestmark = pytest.mark.django_db


@pytest.fixture
def tick():
    """A pass of a worker that has just started."""

    def do(name):
        loop = worker_loop(name)
        loop.register()
        loop.tick()

    return do


def test_pass_of_a_worker_removes_and_purges(tick, django_capture_on_commit_callbacks):
    run = RunFactory(status=RunStatus.COMPLETED)
    older, newest = (checkpoint(run, step=step) for step in (10, 20))
    set_policy(run.project, by=None, last=1)
    tick("one")
    assert list(Artifact.objects.checkpoints().filter(run=run)) == [newest]
    CheckpointDeletion.objects.update(trashed_at=timezone.now() - timedelta(days=8))

    with django_capture_on_commit_callbacks(execute=True):
        tick("two")

    assert CheckpointDeletion.objects.get().state is DeletionState.DELETED
    assert not stored_path(older).exists()
    assert stored_path(newest).exists()


def test_broken_policy_stops_no_worker(tick, monkeypatch):
    def fail(*_args):
        raise RuntimeError("broken")

    run = RunFactory()
    set_policy(run.project, by=None, last=1)
    monkeypatch.setattr("registry.retention_driving.judged_runs", fail)

    tick("one")

    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
