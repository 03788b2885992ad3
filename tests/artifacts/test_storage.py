"""Artifact storage: atomic local files and S3."""

import io
import os
import time
import tracemalloc

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from artifacts.checkpoints import latest_sound_checkpoint
from artifacts.storage import CHUNK_BYTES, HashingFile, artifact_storage, sha256_of
from core.messages import in_english
from tests.factories import RunFactory, checkpoint, sha256
from tests.storage import everything_in, objects_in


class Interrupted(Exception):
    pass


class Failing(io.BytesIO):
    """Raises after its first chunk."""

    def read(self, size=-1):
        if self.tell():
            raise Interrupted
        return super().read(size)


def large(chunks=3):
    return os.urandom(1000) * (chunks * CHUNK_BYTES // 1000)


# --- files -----------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    return tmp_path / "artifacts"


def test_new_folder_is_closed_to_other_users(root):
    artifact_storage().save("a", ContentFile(b"bytes"))

    assert root.stat().st_mode & 0o007 == 0


def save(name, content):
    source = HashingFile(io.BytesIO(content))
    artifact_storage().save(name, source)
    return source


def test_saved_file_has_same_content(root):
    content = large()

    source = save("a/b/step-1.pt", content)

    assert (root / "a/b/step-1.pt").read_bytes() == content
    assert (source.sha256, source.byte_count) == (sha256(content), len(content))


def test_same_name_replaces_existing_file(root):
    save("a/x", b"old")
    save("a/x", b"new")

    assert (root / "a/x").read_bytes() == b"new"
    assert everything_in(root) == ["x"]


def test_interrupted_write_leaves_nothing(root):
    with pytest.raises(Interrupted):
        artifact_storage().save("a/x", HashingFile(Failing(large())))

    assert everything_in(root) == []


def test_interrupted_write_keeps_existing_file(root):
    save("a/x", b"old")

    with pytest.raises(Interrupted):
        artifact_storage().save("a/x", HashingFile(Failing(large())))

    assert (root / "a/x").read_bytes() == b"old"


def test_open_file_keeps_old_content_when_replaced():
    save("a/x", b"old")

    with artifact_storage().open("a/x") as file:
        save("a/x", b"new")
        assert file.read() == b"old"


def test_next_write_deletes_files_left_by_killed_writer(root):
    (root / ".incoming").mkdir(parents=True)
    abandoned, busy = root / ".incoming/old", root / ".incoming/new"
    for path in (abandoned, busy):
        path.write_bytes(b"half")
    yesterday = time.time() - 86_400
    os.utime(abandoned, (yesterday, yesterday))

    save("a/x", b"whole")

    assert everything_in(root) == ["new", "x"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a/./../../x"])
def test_name_outside_root_is_rejected(name, tmp_path):
    with pytest.raises(SuspiciousFileOperation):
        save(name, b"x")

    assert everything_in(tmp_path) == []


def test_large_file_is_not_held_in_memory(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(bytes(CHUNK_BYTES))

    with path.open("rb") as content:
        tracemalloc.start()
        artifact_storage().save("a/large", HashingFile(content))
        sha256_of("a/large")
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 8 * CHUNK_BYTES


# --- S3 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 20 * CHUNK_BYTES], ids=["empty", "small", "in parts"])
def test_s3_saved_file_has_same_content(s3, size):
    content = os.urandom(size)

    source = save("proj/run/x.pt", content)

    assert (source.sha256, source.byte_count) == (sha256(content), size)
    assert sha256_of("proj/run/x.pt") == (sha256(content), size)
    assert objects_in(s3) == ["kept/here/proj/run/x.pt"]


def test_s3_same_name_replaces_existing_file(s3):
    save("a/x", b"old")
    save("a/x", b"new")

    assert sha256_of("a/x") == (sha256(b"new"), 3)
    assert len(objects_in(s3)) == 1


def test_s3_interrupted_write_leaves_nothing(s3):
    with pytest.raises(Interrupted):
        artifact_storage().save("a/x", HashingFile(Failing(large(20))))

    assert objects_in(s3) == []


@pytest.mark.usefixtures("s3")
def test_s3_missing_file_raises_file_not_found():
    with pytest.raises(FileNotFoundError):
        sha256_of("a/nothing")


@pytest.mark.usefixtures("s3")
def test_s3_name_outside_root_is_rejected():
    with pytest.raises(SuspiciousFileOperation):
        artifact_storage().save("../../elsewhere", ContentFile(b"x"))


@pytest.mark.django_db
def test_s3_damaged_checkpoint_is_skipped(s3):
    run = RunFactory()
    sound = checkpoint(run, step=20)
    damaged = checkpoint(run, step=40)
    s3.put_object(
        Bucket=s3.bucket, Key=f"kept/here/{damaged.storage_key}", Body=bytes(damaged.size_bytes)
    )

    assert sound.problem() is None
    assert in_english(damaged.problem()) == "its sha256 is not the recorded one"
    assert latest_sound_checkpoint(run) == sound


@pytest.mark.django_db
def test_s3_deleted_checkpoint_is_skipped(s3):
    run = RunFactory()
    sound, gone = checkpoint(run, step=20), checkpoint(run, step=40)
    s3.delete_object(Bucket=s3.bucket, Key=f"kept/here/{gone.storage_key}")

    assert latest_sound_checkpoint(run) == sound
