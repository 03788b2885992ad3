"""Released checkpoints, their run and their project are not deleted."""

import pytest

from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.released import ReleasedCheckpoint, released
from projects.access import RoleNeeded
from runs import bulk, trash
from runs.reports import InTrash
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.factories import RunFactory, UserFactory, checkpoint, member_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def run():
    return RunFactory(status=RunStatus.COMPLETED)


def release(artifact):
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    return artifact


def test_the_last_tag_decides_what_is_released(run):
    kept = release(checkpoint(run, step=10))
    archived = release(checkpoint(run, step=20))
    archived.tag(TagValue.ARCHIVED, notes="", by=None)
    checkpoint(run, step=30).tag(TagValue.CANDIDATE, notes="", by=None)

    assert list(released()) == [kept]


def test_release_that_becomes_a_candidate_still_keeps_its_run(run):
    release(checkpoint(run)).tag(TagValue.CANDIDATE, notes="", by=None)

    with pytest.raises(ReleasedCheckpoint):
        run.move_to_trash(by=None)


def test_member_makes_no_candidate_of_a_release(run):
    artifact = release(checkpoint(run))

    with pytest.raises(RoleNeeded):
        artifact.tag(TagValue.CANDIDATE, notes="", by=member_of(run.project, Role.MEMBER))

    assert [tag.value for tag in artifact.tags.all()] == [TagValue.RELEASED]


def test_run_with_a_release_cannot_be_deleted(run):
    release(checkpoint(run))

    with pytest.raises(ReleasedCheckpoint, match=r"is released: it, its run and its project"):
        run.move_to_trash(by=UserFactory())

    run.refresh_from_db()
    assert run.deleted_at is None


def test_project_with_a_release_cannot_be_deleted(run):
    release(checkpoint(run))

    with pytest.raises(ReleasedCheckpoint):
        trash.delete_with_runs(run.project, by=UserFactory())

    run.project.refresh_from_db()
    assert not run.project.is_archived


def test_archived_checkpoint_does_not_keep_its_run(run):
    release(checkpoint(run)).tag(TagValue.ARCHIVED, notes="", by=None)

    run.move_to_trash(by=None)

    assert run.deleted_at is not None


def test_bulk_deletion_tells_which_run_is_kept(run):
    other = RunFactory(project=run.project, status=RunStatus.COMPLETED)
    release(checkpoint(run))

    outcome = bulk.delete([run, other], by=None)

    assert outcome.done == [other]
    assert [refusal.run for refusal in outcome.refused] == [run]


@pytest.mark.parametrize("what", ["runs", "experiments"])
def test_mlflow_is_told_why_nothing_is_deleted(run, what):
    release(checkpoint(run))
    message = {"runs": {"run_id": run.pk}, "experiments": {"experiment_id": run.project_id}}[what]

    answer = ApiClient().post(
        f"/api/2.0/mlflow/{what}/delete", message, content_type="application/json"
    )

    assert answer.status_code == 409
    assert "is released" in answer.json()["message"]


def test_checkpoint_of_a_deleted_run_cannot_be_released(run):
    artifact = checkpoint(run)
    run.move_to_trash(by=None)

    with pytest.raises(InTrash, match="restore it"):
        release(artifact)
