"""The trash of checkpoints: what goes there, what comes back, and the deletion of its bytes."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.roles import Role
from artifacts import file_tree, trash, uploads
from artifacts.checkpoint_deletions import CheckpointDeletion, DeletionState
from artifacts.checkpoints import latest_sound_checkpoint, resume_run
from artifacts.evaluation_runs import evaluate
from artifacts.kinds import TagValue
from artifacts.models import Artifact, InUse, NotACheckpoint, PathTaken
from artifacts.storage import artifact_storage
from artifacts.unreferenced_blobs import UnreferencedBlob
from projects.access import RoleNeeded
from runs.checkpoint import CheckpointGone
from runs.models import RecipeKind
from runs.reports import InTrash
from runs.status import RunStatus
from tests.concurrency import in_parallel, some_connection_waits_for_lock, transaction_elsewhere
from tests.factories import RecipeFactory, RunFactory, checkpoint, member_of, stored_path
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]

FOLDER = "checkpoint-20"


@pytest.fixture
def run():
    return RunFactory(status=RunStatus.COMPLETED)


def put_in_trash(artifact, **options):
    return trash.trash(artifact, reason="", by=None, **options)


def folder_of(run):
    """A checkpoint of two files, and one of TrainHub's own."""
    for name in ("model.safetensors", "optimizer.pt"):
        uploads.store(run, f"{FOLDER}/{name}", io.BytesIO(name.encode()))
    return Artifact.objects.uploaded().checkpoints().get(run=run)


def grow_old(deletion, *, days=8):
    before = timezone.now() - timedelta(days=days)
    CheckpointDeletion.objects.filter(pk=deletion.pk).update(trashed_at=before)


def purged(artifact, capture):
    deletion = put_in_trash(artifact)
    grow_old(deletion)
    with capture(execute=True):
        trash.purge()
    deletion.refresh_from_db()
    return deletion


# --- into the trash ----------------------------------------------------------------------------


def test_what_is_in_the_trash_is_in_no_list_but_has_its_bytes(run):
    artifact = checkpoint(run, step=10)

    deletion = put_in_trash(artifact)

    assert not Artifact.objects.checkpoints().filter(run=run)
    assert file_tree.find(run, artifact.file) is None
    assert latest_sound_checkpoint(run) is None
    assert stored_path(artifact).exists()
    assert deletion.state is DeletionState.TRASHED
    assert (deletion.step, deletion.size_bytes) == (10, artifact.size_bytes)


def test_folder_goes_with_all_its_files(run):
    artifact = folder_of(run)

    deletion = put_in_trash(artifact)

    assert file_tree.entries(run, "") == []
    assert deletion.file_count == 2
    assert deletion.size_bytes == len("model.safetensors") + len("optimizer.pt")


def test_members_remove_and_viewers_do_not(run):
    viewer, member = (member_of(run.project, role) for role in (Role.VIEWER, Role.MEMBER))
    artifact = checkpoint(run)
    with pytest.raises(RoleNeeded):
        trash.remove(artifact, by=viewer)

    deletion = trash.remove(artifact, by=member, notes="of a typo")

    assert (deletion.deleted_by_name, str(deletion.reason)) == (member.username, "of a typo")


def test_only_checkpoints_go(run):
    file, _is_new = uploads.store(run, "notes.txt", io.BytesIO(b"notes"))

    with pytest.raises(NotACheckpoint):
        put_in_trash(file)


@pytest.mark.parametrize("value", list(TagValue))
def test_policy_never_removes_what_has_been_tagged(run, value):
    artifact = checkpoint(run)
    artifact.tag(value, notes="", by=None)

    with pytest.raises(InUse, match="has been tagged"):
        put_in_trash(artifact, by_policy=True)


@pytest.mark.parametrize("values", [["候选"], ["发布"], ["发布", "归档", "候选"], ["归档", "发布"]])
def test_person_does_not_remove_what_is_tagged_and_not_archived(run, values):
    artifact = checkpoint(run)
    for value in values:
        artifact.tag(TagValue(value), notes="", by=None)

    with pytest.raises(InUse, match="not archived"):
        put_in_trash(artifact)


def test_person_removes_and_restores_a_release_that_was_archived(run):
    artifact = checkpoint(run)
    for value in (TagValue.CANDIDATE, TagValue.RELEASED, TagValue.ARCHIVED):
        artifact.tag(value, notes="", by=None)

    deletion = put_in_trash(artifact)
    back = trash.restore(deletion, by=None)

    assert [tag.value for tag in back.tags.all()] == ["候选", "发布", "归档"]


def test_archived_release_that_something_else_needs_stays(run):
    artifact = checkpoint(run, step=10)
    artifact.tag(TagValue.ARCHIVED, notes="", by=None)
    resume_run(run, artifact, by=None)

    with pytest.raises(InUse, match="was resumed from it"):
        put_in_trash(artifact)


def test_what_a_run_that_is_not_over_would_continue_from_stays():
    run = RunFactory(status=RunStatus.PAUSED)
    older, newest = (checkpoint(run, step=step) for step in (10, 20))

    with pytest.raises(InUse, match="would continue from it"):
        put_in_trash(newest)

    put_in_trash(older)


def test_what_a_run_was_resumed_from_stays(run):
    artifact = checkpoint(run, step=10)
    resume_run(run, artifact, by=None)

    with pytest.raises(InUse, match="was resumed from it"):
        put_in_trash(artifact)


def test_evaluation_keeps_the_checkpoint_until_it_is_over(run):
    artifact = checkpoint(run, step=10)
    evaluation = evaluate(artifact, recipe=RecipeFactory(kind=RecipeKind.EVALUATION), by=None)
    with pytest.raises(InUse, match="evaluates it"):
        put_in_trash(artifact)

    type(run).objects.filter(pk=evaluation.pk).update(
        status=RunStatus.COMPLETED, finished_at=timezone.now(), started_at=timezone.now()
    )
    put_in_trash(artifact)


def test_checkpoint_of_the_cancellation_stays():
    run = RunFactory(status=RunStatus.CANCELLED)
    artifact = checkpoint(run)
    artifact.name_final()

    with pytest.raises(InUse, match="when it was cancelled"):
        put_in_trash(artifact)


def test_no_run_begins_from_what_is_in_the_trash(run):
    artifact = checkpoint(run, step=10)
    put_in_trash(artifact)

    with pytest.raises(CheckpointGone):
        resume_run(run, artifact, by=None)
    with pytest.raises(CheckpointGone):
        artifact.tag(TagValue.CANDIDATE, notes="", by=None)


# --- back ------------------------------------------------------------------------------------


def columns(run):
    return list(Artifact.every.filter(run=run).order_by("pk").values())


@hypothesis_settings(
    max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(steps=st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), data=st.data())
def test_restored_checkpoints_are_exactly_what_they_were(steps, data):
    run = RunFactory(status=RunStatus.COMPLETED)
    own = [checkpoint(run, step=step) for step in steps]
    artifacts = [*own, folder_of(run)]
    before = columns(run)
    chosen = data.draw(st.lists(st.sampled_from(artifacts), unique_by=lambda it: it.pk))
    deletions = [put_in_trash(artifact) for artifact in chosen]

    for deletion in data.draw(st.permutations(deletions)):
        trash.restore(deletion, by=None)

    assert columns(run) == before
    assert all(artifact.problem() is None for artifact in artifacts)


def test_restored_twice_is_refused(run):
    deletion = put_in_trash(checkpoint(run))
    trash.restore(deletion, by=None)

    with pytest.raises(trash.NotInTrash, match="was restored already"):
        trash.restore(deletion, by=None)


def test_path_that_has_been_uploaded_again_is_refused(run):
    deletion = put_in_trash(folder_of(run))
    uploads.store(run, f"{FOLDER}/model.safetensors", io.BytesIO(b"new"))

    with pytest.raises(PathTaken):
        trash.restore(deletion, by=None)

    deletion.refresh_from_db()
    assert deletion.is_in_trash


def test_checkpoint_of_a_deleted_run_is_not_restored_before_it(run):
    deletion = put_in_trash(checkpoint(run))
    run.move_to_trash(by=None)

    with pytest.raises(InTrash):
        trash.restore(deletion, by=None)


def test_training_that_writes_the_same_file_takes_it_back(run):
    deletion = put_in_trash(checkpoint(run, step=10))

    again = checkpoint(run, step=10, content=b"{}\nother")

    deletion.refresh_from_db()
    assert deletion.state is DeletionState.RESTORED
    assert again.pk == deletion.checkpoint_key
    assert again.problem() is None


# --- purged ----------------------------------------------------------------------------------


def test_nothing_is_purged_before_its_days_are_over(run):
    artifact = checkpoint(run)
    deletion = put_in_trash(artifact)
    grow_old(deletion, days=6)

    assert trash.purge() == 0
    assert stored_path(artifact).exists()


def test_purged_checkpoint_is_deleted_in_the_storage_and_on_record(
    run, django_capture_on_commit_callbacks
):
    artifact = folder_of(run)
    keys = [part.storage_key for part in artifact.parts()]

    deletion = purged(artifact, django_capture_on_commit_callbacks)

    assert not any(artifact_storage().exists(key) for key in keys)
    assert deletion.state is DeletionState.DELETED
    assert deletion.deleted_files == 2
    with pytest.raises(trash.NotInTrash, match="for good"):
        trash.restore(deletion, by=None)


def test_deletion_is_not_confirmed_before_the_storage_has_done_it(
    run, monkeypatch, django_capture_on_commit_callbacks
):
    def fail(_self, _name):
        raise OSError("away")

    storage = type(artifact_storage())
    with monkeypatch.context() as broken:
        broken.setattr(storage, "delete", fail)
        artifact = checkpoint(run)
        deletion = purged(artifact, django_capture_on_commit_callbacks)
        assert deletion.state is DeletionState.PURGING
        assert stored_path(artifact).exists()

    trash.purge()  # the next pass

    deletion.refresh_from_db()
    assert deletion.state is DeletionState.DELETED
    assert not stored_path(artifact).exists()
    assert not UnreferencedBlob.objects.all()


def test_purge_killed_between_storage_and_record_is_finished_by_the_next(
    run, monkeypatch, django_capture_on_commit_callbacks
):
    class Killed(BaseException):
        pass

    def kill(*_args):
        raise Killed

    artifact = folder_of(run)
    deletion = put_in_trash(artifact)
    grow_old(deletion)
    with monkeypatch.context() as killed:
        killed.setattr(type(CheckpointDeletion.objects.all()), "note_deleted_file", kill)
        killed.setattr(type(CheckpointDeletion.objects), "note_deleted_file", kill)
        with pytest.raises(Killed), django_capture_on_commit_callbacks(execute=True):
            trash.purge()
    deletion.refresh_from_db()
    assert deletion.state is not DeletionState.DELETED

    with django_capture_on_commit_callbacks(execute=True):
        trash.purge()

    deletion.refresh_from_db()
    assert deletion.state is DeletionState.DELETED
    assert deletion.deleted_files == deletion.file_count == 2


def test_record_is_closed_if_a_training_overwrites_what_is_left(
    run, monkeypatch, django_capture_on_commit_callbacks
):
    def fail(_self, _name):
        raise OSError("away")

    with monkeypatch.context() as broken:
        broken.setattr(type(artifact_storage()), "delete", fail)
        deletion = purged(checkpoint(run, step=10), django_capture_on_commit_callbacks)
    again = checkpoint(run, step=10, content=b"{}\nother")

    trash.purge()

    deletion.refresh_from_db()
    assert deletion.state is DeletionState.DELETED
    assert deletion.deleted_files == 1
    assert again.problem() is None


def test_what_evaluations_told_of_a_purged_checkpoint_stays(
    run, django_capture_on_commit_callbacks
):
    artifact = checkpoint(run, step=10)
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    evaluation = evaluate(artifact, recipe=recipe, by=None)
    type(run).objects.filter(pk=evaluation.pk).update(
        status=RunStatus.COMPLETED, finished_at=timezone.now(), started_at=timezone.now()
    )

    purged(artifact, django_capture_on_commit_callbacks)

    evaluation.refresh_from_db()
    assert evaluation.resumed_from_id == artifact.pk
    call_command("verify_artifacts", verbosity=0)


# --- at once, without waiting ----------------------------------------------------------------


def test_maintainers_have_it_deleted_without_waiting(run, django_capture_on_commit_callbacks):
    member, maintainer = (member_of(run.project, role) for role in (Role.MEMBER, Role.MAINTAINER))
    artifact = checkpoint(run)
    deletion = put_in_trash(artifact)
    with pytest.raises(RoleNeeded):
        trash.purge_now(deletion, by=member)

    asked = trash.purge_now(deletion, by=maintainer)

    assert (asked.state, asked.purged_by_name) == (DeletionState.PURGING, maintainer.username)
    assert asked.purge_due_at is None
    assert stored_path(artifact).exists()
    with django_capture_on_commit_callbacks(execute=True):
        assert trash.purge() == 1
    deletion.refresh_from_db()
    assert deletion.state is DeletionState.DELETED
    assert not stored_path(artifact).exists()


def test_purge_that_is_asked_for_again_keeps_who_did_so_first(run):
    first, second = (member_of(run.project, Role.MAINTAINER) for _ in range(2))
    deletion = trash.purge_now(put_in_trash(checkpoint(run)), by=first)

    again = trash.purge_now(deletion, by=second)

    assert (again.purged_by_name, again.purge_requested_at) == (
        first.username,
        deletion.purge_requested_at,
    )


def test_purged_after_its_days_is_by_nobody(run, django_capture_on_commit_callbacks):
    deletion = purged(checkpoint(run), django_capture_on_commit_callbacks)

    again = trash.purge_now(deletion, by=member_of(run.project, Role.MAINTAINER))

    assert again.state is DeletionState.DELETED
    assert (again.purged_by_name, again.purge_requested_at) == ("", None)


def test_restored_checkpoint_is_not_purged(run):
    deletion = put_in_trash(checkpoint(run))
    trash.restore(deletion, by=None)

    with pytest.raises(trash.NotInTrash, match="was restored already"):
        trash.purge_now(deletion, by=None)

    assert trash.purge() == 0


def test_what_is_being_deleted_is_not_restored(run):
    deletion = trash.purge_now(put_in_trash(checkpoint(run)), by=None)

    with pytest.raises(trash.NotInTrash, match="are being deleted"):
        trash.restore(deletion, by=None)


def test_what_is_to_be_deleted_at_once_goes_before_what_is_old(run):
    old, new = (put_in_trash(checkpoint(run, step=step)) for step in (10, 20))
    grow_old(old)
    trash.purge_now(new, by=None)

    trash.purge(limit=1)

    assert CheckpointDeletion.objects.get(purged_at__isnull=False) == new


def test_training_that_writes_the_same_file_takes_it_back_before_it_is_purged(run):
    deletion = trash.purge_now(put_in_trash(checkpoint(run, step=10)), by=None)

    again = checkpoint(run, step=10, content=b"{}\nother")

    assert trash.purge() == 0
    deletion.refresh_from_db()
    assert deletion.state is DeletionState.RESTORED
    assert again.problem() is None


def test_emptied_trash_is_that_of_the_project_and_of_what_was_seen(run):
    restored, seen, later = (put_in_trash(checkpoint(run, step=step)) for step in (10, 20, 30))
    elsewhere = put_in_trash(checkpoint(RunFactory(status=RunStatus.COMPLETED)))
    trash.restore(restored, by=None)
    grow_old(seen, days=1)
    seen.refresh_from_db()

    count = trash.empty(run.project, by=None, until=seen.trashed_at)

    assert count == 1
    assert list(CheckpointDeletion.objects.in_state(DeletionState.PURGING)) == [seen]
    assert set(CheckpointDeletion.objects.in_trash()) == {later, elsewhere}
    assert trash.empty(run.project, by=None) == 1


def test_each_deletion_is_in_the_list_of_its_state(run, django_capture_on_commit_callbacks):
    made = [put_in_trash(checkpoint(run, step=step)) for step in (10, 20, 30)]
    trash.restore(made[0], by=None)
    trash.purge_now(made[1], by=None)
    made.append(purged(checkpoint(run, step=40), django_capture_on_commit_callbacks))
    made.append(trash.purge_now(put_in_trash(checkpoint(run, step=50)), by=None))

    for deletion in CheckpointDeletion.objects.all():
        states = [
            state
            for state in DeletionState
            if CheckpointDeletion.objects.in_state(state).filter(pk=deletion.pk).exists()
        ]
        assert states == [deletion.state]


# --- two at once -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_purge_and_restore_at_once_do_one_of_both():
    run = RunFactory(status=RunStatus.COMPLETED)
    deletion = put_in_trash(folder_of(run))
    grow_old(deletion)

    purged_count, restored = in_parallel(trash.purge, lambda: trash.restore(deletion, by=None))

    deletion.refresh_from_db()
    if purged_count:
        assert isinstance(restored, trash.NotInTrash)
        assert deletion.state is DeletionState.DELETED
    else:
        assert restored.problem() is None
        assert deletion.state is DeletionState.RESTORED


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_purge_now_and_restore_at_once_do_one_of_both():
    run = RunFactory(status=RunStatus.COMPLETED)
    deletion = put_in_trash(folder_of(run))

    asked, restored = in_parallel(
        lambda: trash.purge_now(deletion, by=None), lambda: trash.restore(deletion, by=None)
    )

    deletion.refresh_from_db()
    if isinstance(asked, trash.NotInTrash):
        assert deletion.state is DeletionState.RESTORED
        assert restored.problem() is None
    else:
        assert deletion.state is DeletionState.PURGING
        assert isinstance(restored, trash.NotInTrash)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_purge_waits_for_a_training_that_writes_the_same_file():
    run = RunFactory(status=RunStatus.COMPLETED)
    deletion = trash.purge_now(put_in_trash(checkpoint(run, step=10)), by=None)

    def write():
        return checkpoint(type(run).objects.lock(run.pk), step=10, content=b"{}\nother")

    with ThreadPoolExecutor(1) as pool:
        with transaction_elsewhere(write) as again:
            purging = pool.submit(in_parallel, trash.purge)
            wait_until(some_connection_waits_for_lock)
        [count] = purging.result(timeout=30)

    assert count == 0
    deletion.refresh_from_db()
    assert deletion.state is DeletionState.RESTORED
    assert again.problem() is None


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_run_that_begins_while_its_checkpoint_is_removed_has_it_or_does_not_begin():
    run = RunFactory(status=RunStatus.COMPLETED)
    artifact = checkpoint(run, step=10)

    begun, removed = in_parallel(
        lambda: resume_run(run, artifact, by=None), lambda: put_in_trash(artifact)
    )

    if Artifact.objects.filter(pk=artifact.pk).exists():
        assert begun.resumed_from_id == artifact.pk
        assert isinstance(removed, InUse)
    else:
        assert isinstance(begun, CheckpointGone)
