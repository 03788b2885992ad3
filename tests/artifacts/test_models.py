"""Artifacts: storing, replacement, verification and tags; checkpoints in use never change."""

import io

import pytest
from django.db import IntegrityError, transaction

from accounts.roles import Role
from artifacts import storing
from artifacts.blobs import StoredFile
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, ArtifactTag, NotACheckpoint
from core.messages import in_english
from runs.actions import resume_run
from tests.concurrency import in_parallel
from tests.factories import (
    RunFactory,
    checkpoint,
    damage,
    member_of,
    sha256,
    stored_path,
)

pytestmark = pytest.mark.django_db


def put(run, content, *, step=100, version="a"):
    return storing.put_checkpoint(
        run, io.BytesIO(content), step=step, version=version, suffix=".pt"
    )


def record(run, content, *, step=100, version="a"):
    stored = put(run, content, step=step, version=version)
    sound = storing.sound_copies(run, stored)
    return storing.record_checkpoint(run, stored, step=step, sound=sound)


def ingest(run, content, *, damage="", step=100):
    """As an executor does with a file called last.ckpt."""
    stored = put(run, content, step=step, version=sha256(content)[:8])
    origin = storing.Origin("last.ckpt", "file", damage)
    sound = storing.sound_copies(run, stored)
    return storing.record_checkpoint(run, stored, step=step, origin=origin, sound=sound)


def read(artifact):
    with artifact.open() as file:
        return file.read()


# --- storing ---------------------------------------------------------------------------------


def test_checkpoint_records_step_size_and_sha256():
    run = RunFactory()

    artifact = checkpoint(run, step=2000, content=b"weights")

    assert str(artifact.name) == "第 2000 步检查点"
    assert (artifact.type, artifact.step) == (ArtifactType.CHECKPOINT, 2000)
    assert (artifact.size_bytes, artifact.sha256) == (7, sha256(b"weights"))
    assert read(artifact) == b"weights"
    assert artifact.problem() is None


@pytest.mark.parametrize(
    ("type", "prefix"),
    [("checkpoint", "ckpt"), ("event", "log"), ("evaluation", "eval"), ("config", "conf")],
)
def test_type_determines_id_prefix(type, prefix):
    assert ArtifactType(type).id_prefix == prefix


def test_path_is_uri_defined_by_contract(settings):
    settings.ARTIFACTS_BUCKET = "shared"
    run = RunFactory()

    artifact = checkpoint(run, step=5)

    assert artifact.path == f"s3://shared/{run.project_id}/{run.pk}/step-00000005.pt"


def test_event_file_is_stored_in_folder_of_its_path():
    run = RunFactory()

    artifact = storing.record_events(run, storing.put_events(run, io.BytesIO(b"e")))

    assert artifact.path.endswith(f"/{run.pk}/tensorboard")
    assert stored_path(artifact).parent.name == "tensorboard"


def test_rewritten_file_keeps_its_id():
    run = RunFactory()
    first = storing.store_evaluation(run, io.BytesIO(b"{}"), step=50)

    second = storing.store_evaluation(run, io.BytesIO(b'{"a": 1}'), step=100)

    assert first.pk == second.pk
    assert (second.step, second.size_bytes) == (100, 8)
    assert second.problem() is None


def test_failed_write_creates_no_row():
    run = RunFactory()

    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        checkpoint_from(run, Failing())

    assert not run.artifacts.exists()


def checkpoint_from(run, content):
    return storing.store_checkpoint(run, content, step=1, suffix=".pt")


# --- replacing a checkpoint ------------------------------------------------------------------


def test_checkpoint_not_in_use_is_replaced(django_capture_on_commit_callbacks):
    run = RunFactory()
    first = record(run, b"old", version="a")
    old_path = stored_path(first)

    with django_capture_on_commit_callbacks(execute=True):
        second = record(run, b"new", version="b")

    assert first.pk == second.pk
    assert read(second) == b"new"
    assert not old_path.exists()


def test_replaced_bytes_are_kept_until_commit(django_capture_on_commit_callbacks):
    run = RunFactory()
    first = record(run, b"old", version="a")

    with django_capture_on_commit_callbacks() as callbacks:
        record(run, b"new", version="b")

    assert stored_path(first).read_bytes() == b"old"
    assert len(callbacks) == 1


def test_tagged_checkpoint_is_not_replaced_but_a_new_one_is_added():
    run = RunFactory()
    tagged = record(run, b"old", version="a")
    tagged.tag(TagValue.RELEASED, notes="", by=None)

    other = record(run, b"new", version="b")

    tagged.refresh_from_db()
    assert other.pk != tagged.pk
    assert read(tagged) == b"old"
    assert read(other) == b"new"


def test_checkpoint_used_by_resumed_run_keeps_its_bytes():
    run = RunFactory()
    source = record(run, b"old", step=40, version="a")
    resume_run(run, source, by=None)

    record(run, b"new", step=40, version="b")

    source.refresh_from_db()
    assert read(source) == b"old"


def test_rows_that_keep_an_artifact_in_use_are_known():
    relations = Artifact._meta.related_objects

    names = sorted(f"{it.related_model.__name__}.{it.field.name}" for it in relations)
    assert names == ["ArtifactTag.artifact", "ModelVersion.checkpoint"]


def test_same_bytes_again_repair_damaged_checkpoint():
    run = RunFactory()
    tagged = record(run, b"same", version="a")
    tagged.tag(TagValue.CANDIDATE, notes="", by=None)
    damage(tagged)

    again = record(run, b"same", version="b")

    assert again.pk == tagged.pk
    assert again.problem() is None


def test_damaged_checkpoint_never_replaces_a_whole_one(django_capture_on_commit_callbacks):
    run = RunFactory()

    with django_capture_on_commit_callbacks(execute=True):
        whole = ingest(run, b"whole")
        damaged = ingest(run, b"half", damage="it is cut off")

    assert damaged.pk != whole.pk
    assert read(whole) == b"whole"
    assert Artifact.objects.get(pk=whole.pk).damage == ""


def test_completed_checkpoint_replaces_the_damaged_one(django_capture_on_commit_callbacks):
    run = RunFactory()
    with django_capture_on_commit_callbacks(execute=True):
        ingest(run, b"whole")
        ingest(run, b"hal", damage="it is cut off")
        damaged = ingest(run, b"half", damage="it is cut off")

        completed = ingest(run, b"newer")

    assert completed.pk == damaged.pk
    assert sorted(read(artifact) for artifact in Artifact.objects.all()) == [b"newer", b"whole"]


def test_bytes_that_were_seen_whole_stay_whole():
    """A training writes the same file again and is killed at once: it cannot be told whether that
    is complete, but these bytes are."""
    run = RunFactory()
    whole = ingest(run, b"whole")

    again = ingest(run, b"whole", damage="it may be incomplete")

    assert again.pk == whole.pk
    assert Artifact.objects.get().damage == ""


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_tag_and_replacement_keep_tagged_bytes_intact():
    run = RunFactory()
    artifact = record(run, b"old", version="a")
    stored = put(run, b"new", version="b")

    in_parallel(
        lambda: artifact.tag(TagValue.RELEASED, notes="", by=None),
        lambda: storing.record_checkpoint(run, stored, step=100),
    )

    tagged = ArtifactTag.objects.select_related("artifact__run").get().artifact
    assert tagged.problem() is None


# --- verification ----------------------------------------------------------------------------


def test_damaged_bytes_are_detected():
    artifact = checkpoint(RunFactory())
    damage(artifact)

    assert in_english(artifact.problem()) == "its sha256 is not the recorded one"


def test_truncated_bytes_are_detected():
    artifact = checkpoint(RunFactory(), content=b"weights")
    stored_path(artifact).write_bytes(b"wei")

    assert in_english(artifact.problem()) == "3 bytes are stored, 7 were recorded"


def test_missing_bytes_are_detected():
    artifact = checkpoint(RunFactory())
    stored_path(artifact).unlink()

    assert in_english(artifact.problem()) == "its bytes are missing"


# --- tags ------------------------------------------------------------------------------------


def test_tag_records_value_time_and_author():
    artifact = checkpoint(RunFactory())
    user = member_of(artifact.run.project, Role.MAINTAINER)

    tag = artifact.tag(TagValue.RELEASED, notes="在验证集上 BLEU 32.5，通过复核", by=user)

    assert (tag.value, tag.applied_by) == ("发布", user)
    assert tag.applied_at is not None


def test_same_tag_again_updates_its_notes():
    artifact = checkpoint(RunFactory())
    first = artifact.tag(TagValue.CANDIDATE, notes="first", by=None)

    second = artifact.tag(TagValue.CANDIDATE, notes="second", by=None)

    assert artifact.tags.get().notes == "second"
    assert second.pk == first.pk


def test_checkpoint_can_have_several_tags():
    artifact = checkpoint(RunFactory())

    for value in TagValue:
        artifact.tag(value, notes="", by=None)

    assert set(artifact.tags.values_list("value", flat=True)) == {"候选", "发布", "归档"}


def test_only_checkpoints_can_be_tagged():
    run = RunFactory()
    config = storing.store_config(run, io.BytesIO(b"{}"))

    with pytest.raises(NotACheckpoint):
        config.tag(TagValue.CANDIDATE, notes="", by=None)


# --- database constraints --------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"type": "picture"}, {"size_bytes": -1}], ids=str)
def test_database_rejects_invalid_artifact(change):
    artifact = checkpoint(RunFactory())

    with pytest.raises(IntegrityError), transaction.atomic():
        type(artifact).objects.filter(pk=artifact.pk).update(**change)


def test_database_rejects_unknown_tag():
    artifact = checkpoint(RunFactory())

    with pytest.raises(IntegrityError), transaction.atomic():
        ArtifactTag.objects.create(artifact=artifact, value="good")


def test_checkpoint_used_by_resumed_run_cannot_be_deleted():
    run = RunFactory()
    source = checkpoint(run, step=40)
    resume_run(run, source, by=None)

    with pytest.raises(IntegrityError, match="run_resumed_from"):
        source.delete()


def test_final_checkpoint_has_name_defined_by_contract():
    artifact = checkpoint(RunFactory())

    artifact.name_final()

    assert artifact.run.artifacts.kept_at_cancel().get() == artifact
    assert str(artifact.name) == "取消前的检查点"


def test_put_checkpoint_returns_stored_file():
    run = RunFactory()

    assert put(run, b"weights", step=7, version="v") == StoredFile(
        "step-00000007-v.pt", 7, sha256(b"weights")
    )
