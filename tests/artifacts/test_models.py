"""What a run leaves behind, and that what somebody relies on stays as it is."""

import io

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from artifacts.models import ArtifactTag, ArtifactType, NotACheckpoint, StoredFile, TagValue
from runs.actions import resume_run
from tests.concurrency import in_parallel
from tests.factories import (
    RunFactory,
    UserFactory,
    checkpoint,
    damage,
    sha256,
    stored_path,
)

pytestmark = pytest.mark.django_db


def put(run, content, *, step=100, version="a"):
    return run.artifacts.put_checkpoint(
        run, io.BytesIO(content), step=step, version=version, suffix=".pt"
    )


def record(run, content, *, step=100, version="a"):
    return run.artifacts.record_checkpoint(
        run, put(run, content, step=step, version=version), step=step
    )


def read(artifact):
    with artifact.open() as file:
        return file.read()


# --- what is recorded ------------------------------------------------------------------------


def test_checkpoint_tells_its_bytes_and_its_step():
    run = RunFactory()

    artifact = checkpoint(run, step=2000, content=b"weights")

    assert artifact.name == "第 2000 步检查点"
    assert (artifact.type, artifact.step) == (ArtifactType.CHECKPOINT, 2000)
    assert (artifact.size_bytes, artifact.sha256) == (7, sha256(b"weights"))
    assert read(artifact) == b"weights"
    assert artifact.problem() is None


@pytest.mark.parametrize(
    ("type", "prefix"),
    [("checkpoint", "ckpt"), ("event", "log"), ("evaluation", "eval"), ("config", "conf")],
)
def test_every_type_has_its_prefix(type, prefix):
    assert ArtifactType(type).id_prefix == prefix


def test_path_is_the_contracts_address(settings):
    settings.ARTIFACTS_BUCKET = "shared"
    run = RunFactory()

    artifact = checkpoint(run, step=5)

    assert artifact.path == f"s3://shared/{run.project_id}/{run.pk}/step-00000005.pt"


def test_event_file_lies_in_the_folder_that_its_path_names():
    run = RunFactory()

    artifact = run.artifacts.record_events(run, run.artifacts.put_events(run, io.BytesIO(b"e")))

    assert artifact.path.endswith(f"/{run.pk}/tensorboard")
    assert stored_path(artifact).parent.name == "tensorboard"


def test_file_that_is_written_again_keeps_its_id():
    run = RunFactory()
    first = run.artifacts.store_evaluation(run, io.BytesIO(b"{}"), step=50)

    second = run.artifacts.store_evaluation(run, io.BytesIO(b'{"a": 1}'), step=100)

    assert first.pk == second.pk
    assert (second.step, second.size_bytes) == (100, 8)
    assert second.problem() is None


def test_row_comes_after_its_bytes():
    run = RunFactory()

    class Torn(io.BytesIO):
        def read(self, size=-1):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        checkpoint_from(run, Torn())

    assert not run.artifacts.exists()


def checkpoint_from(run, content):
    return run.artifacts.store_checkpoint(run, content, step=1, suffix=".pt")


# --- the same step once more -----------------------------------------------------------------


def test_checkpoint_that_nobody_relies_on_is_replaced(django_capture_on_commit_callbacks):
    run = RunFactory()
    first = record(run, b"old", version="a")
    old_path = stored_path(first)

    with django_capture_on_commit_callbacks(execute=True):
        second = record(run, b"new", version="b")

    assert first.pk == second.pk
    assert read(second) == b"new"
    assert not old_path.exists()


def test_replaced_bytes_stay_until_the_replacement_is_committed(django_capture_on_commit_callbacks):
    run = RunFactory()
    first = record(run, b"old", version="a")

    with django_capture_on_commit_callbacks() as callbacks:
        record(run, b"new", version="b")

    assert stored_path(first).read_bytes() == b"old"
    assert len(callbacks) == 1


def test_tagged_checkpoint_keeps_its_bytes_and_the_new_ones_stand_beside_it():
    run = RunFactory()
    tagged = record(run, b"old", version="a")
    tagged.tag(TagValue.RELEASED, notes="", by=None)

    other = record(run, b"new", version="b")

    tagged.refresh_from_db()
    assert other.pk != tagged.pk
    assert read(tagged) == b"old"
    assert read(other) == b"new"


def test_checkpoint_that_a_run_was_resumed_from_keeps_its_bytes():
    run = RunFactory()
    source = record(run, b"old", step=40, version="a")
    resume_run(run, source, by=None)

    record(run, b"new", step=40, version="b")

    source.refresh_from_db()
    assert read(source) == b"old"


def test_same_bytes_again_are_the_same_checkpoint_and_heal_it():
    run = RunFactory()
    tagged = record(run, b"same", version="a")
    tagged.tag(TagValue.CANDIDATE, notes="", by=None)
    damage(tagged)

    again = record(run, b"same", version="b")

    assert again.pk == tagged.pk
    assert again.problem() is None


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_tag_and_replacement_at_once_leave_the_tagged_bytes_sound():
    run = RunFactory()
    artifact = record(run, b"old", version="a")
    stored = put(run, b"new", version="b")

    in_parallel(
        lambda: artifact.tag(TagValue.RELEASED, notes="", by=None),
        lambda: run.artifacts.record_checkpoint(run, stored, step=100),
    )

    tagged = ArtifactTag.objects.select_related("artifact__run").get().artifact
    assert tagged.problem() is None


# --- verification ----------------------------------------------------------------------------


def test_damaged_bytes_are_found():
    artifact = checkpoint(RunFactory())
    damage(artifact)

    assert artifact.problem() == "its sha256 is not the recorded one"


def test_cut_bytes_are_found():
    artifact = checkpoint(RunFactory(), content=b"weights")
    stored_path(artifact).write_bytes(b"wei")

    assert artifact.problem() == "3 bytes are stored, 7 were recorded"


def test_missing_bytes_are_found():
    artifact = checkpoint(RunFactory())
    stored_path(artifact).unlink()

    assert artifact.problem() == "the bytes are gone"


# --- tags ------------------------------------------------------------------------------------


def test_tag_says_what_when_and_who():
    user, artifact = UserFactory(), checkpoint(RunFactory())

    tag = artifact.tag(TagValue.RELEASED, notes="在验证集上 BLEU 32.5，通过复核", by=user)

    assert (tag.value, tag.applied_by) == ("发布", user)
    assert tag.applied_at is not None


def test_same_tag_again_updates_its_notes():
    artifact = checkpoint(RunFactory())
    first = artifact.tag(TagValue.CANDIDATE, notes="first", by=None)

    second = artifact.tag(TagValue.CANDIDATE, notes="second", by=None)

    assert artifact.tags.get().notes == "second"
    assert second.pk == first.pk


def test_several_tags_stand_side_by_side():
    artifact = checkpoint(RunFactory())

    for value in TagValue:
        artifact.tag(value, notes="", by=None)

    assert set(artifact.tags.values_list("value", flat=True)) == {"候选", "发布", "归档"}


def test_only_checkpoints_are_tagged():
    run = RunFactory()
    config = run.artifacts.store_config(run, io.BytesIO(b"{}"))

    with pytest.raises(NotACheckpoint):
        config.tag(TagValue.CANDIDATE, notes="", by=None)


# --- what the database itself refuses --------------------------------------------------------


@pytest.mark.parametrize("change", [{"type": "picture"}, {"size_bytes": -1}], ids=str)
def test_database_refuses_an_artifact_that_cannot_be(change):
    artifact = checkpoint(RunFactory())

    with pytest.raises(IntegrityError), transaction.atomic():
        type(artifact).objects.filter(pk=artifact.pk).update(**change)


def test_database_refuses_an_unknown_tag():
    artifact = checkpoint(RunFactory())

    with pytest.raises(IntegrityError), transaction.atomic():
        ArtifactTag.objects.create(artifact=artifact, value="good")


def test_checkpoint_that_a_run_was_resumed_from_cannot_be_deleted():
    run = RunFactory()
    source = checkpoint(run, step=40)
    resume_run(run, source, by=None)

    with pytest.raises(ProtectedError):
        source.delete()


def test_final_checkpoint_bears_the_contracts_name():
    artifact = checkpoint(RunFactory())

    artifact.name_final()

    assert artifact.run.artifacts.kept_at_cancel().get() == artifact
    assert artifact.name == "取消前的检查点"


def test_stored_file_is_what_was_put():
    run = RunFactory()

    assert put(run, b"weights", step=7, version="v") == StoredFile(
        "step-00000007-v.pt", 7, sha256(b"weights")
    )
