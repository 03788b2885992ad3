"""Restoring stored checkpoints to disk."""

import errno
import io
import math
import os
import tarfile

import pytest

from artifacts import storing
from artifacts.storage import CHUNK_BYTES, HashingFile
from artifacts.storing import Origin
from execution.executors.attempt import Ending
from execution.executors.checkpoint_files import Damaged, fetch
from execution.executors.checkpoint_scan import scan
from execution.executors.found_checkpoint import FOLDER_SUFFIX
from tests.factories import RunFactory, checkpoint, damage, stored_path
from tests.saved_files import write, write_all, zipped

pytestmark = pytest.mark.django_db


def stored(run, folder):
    """The checkpoint in ``folder`` as the process executor stores it."""
    [found] = scan(folder).checkpoints
    with found.content() as content:
        put = storing.put_checkpoint(
            run, content, step=found.step, version="v", suffix=found.suffix
        )
    origin = Origin(found.saved_as, found.layout)
    return storing.record_checkpoint(run, put, step=found.step, origin=origin)


def test_files_of_a_command_that_ended_by_itself_are_always_trusted():
    assert Ending(143, at=5.0).trusted_until == math.inf
    assert Ending(-15, at=5.0).trusted_until == 5.0


def test_fetched_checkpoint_has_its_original_content(tmp_path):
    artifact = checkpoint(RunFactory(), content=b"weights")

    assert fetch(artifact, tmp_path / "resume").read_bytes() == b"weights"


def test_damaged_checkpoint_is_not_fetched(tmp_path):
    artifact = checkpoint(RunFactory())
    damage(artifact)

    with pytest.raises(Damaged, match="sha256"):
        fetch(artifact, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_checkpoint_that_was_stored_incomplete_is_not_fetched(tmp_path):
    run = RunFactory()
    content = storing.put_checkpoint(run, io.BytesIO(b"ha"), step=1, version="v", suffix=".pt")
    origin = Origin("step-1.pt", "file", "it is cut off")
    artifact = storing.record_checkpoint(run, content, step=1, origin=origin)

    with pytest.raises(Damaged, match="cut off"):
        fetch(artifact, tmp_path / "resume")


def test_folder_that_would_unpack_outside_the_target_is_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("../../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    packed.seek(0)
    run = RunFactory()
    artifact = storing.store_checkpoint(run, packed, step=1, suffix=FOLDER_SUFFIX)

    with pytest.raises(Damaged, match="无法解包"):
        fetch(artifact, tmp_path / "a" / "b" / "resume")

    assert not (tmp_path / "outside").exists()


@pytest.fixture
def folder(tmp_path):
    """A stored folder of three files."""
    for name in "abc":
        write(tmp_path / f"checkpoints/step-5/{name}.pt", zipped(name.encode() * CHUNK_BYTES))
    return stored(RunFactory(), tmp_path / "checkpoints")


def test_folder_takes_no_more_room_than_its_files_at_any_time(folder, tmp_path, monkeypatch):
    used = []
    read = HashingFile.read

    def measured(source, size=-1):
        files = [path for path in (tmp_path / "resume").rglob("*") if path.is_file()]
        used.append(sum(path.stat().st_size for path in files))
        return read(source, size)

    monkeypatch.setattr(HashingFile, "read", measured)

    restored = fetch(folder, tmp_path / "resume")

    assert sorted(path.name for path in restored.iterdir()) == ["a.pt", "b.pt", "c.pt"]
    assert 0 < max(used) <= folder.size_bytes


def test_folder_whose_archive_has_other_bytes_after_its_end_is_damaged(folder, tmp_path):
    with stored_path(folder).open("ab") as file:
        file.write(bytes(2 * CHUNK_BYTES))

    with pytest.raises(Damaged, match="sha256"):
        fetch(folder, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


@pytest.mark.parametrize("at", [0, 156, CHUNK_BYTES, 2 * CHUNK_BYTES])
def test_folder_with_a_changed_byte_is_damaged_by_its_sha256(folder, tmp_path, at):
    """Whatever the change makes of the archive."""
    with stored_path(folder).open("r+b") as file:
        file.seek(at)
        file.write(b"\xff")

    with pytest.raises(Damaged, match="sha256"):
        fetch(folder, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_cut_off_folder_is_damaged(folder, tmp_path):
    os.truncate(stored_path(folder), CHUNK_BYTES)

    with pytest.raises(Damaged, match="sha256"):
        fetch(folder, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_empty_archive_is_damaged(tmp_path):
    content = io.BytesIO(bytes(10240))
    artifact = storing.store_checkpoint(RunFactory(), content, step=1, suffix=FOLDER_SUFFIX)

    with pytest.raises(Damaged, match="文件是空的"):
        fetch(artifact, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_full_disk_is_not_damage_and_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(*_unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", full)

    with pytest.raises(OSError, match="No space left"):
        fetch(folder, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "pointer", "content"),
    [
        ("global_step100/mp_rank_00_model_states.pt", "latest", "global_step100"),
        (
            "iter_0000300/mp_rank_00/model_optim_rng.pt",
            "latest_checkpointed_iteration.txt",
            "300",
        ),
    ],
)
def test_restored_folder_has_the_pointer_that_its_loader_reads(tmp_path, file, pointer, content):
    write_all(tmp_path / "checkpoints", file)
    artifact = stored(RunFactory(), tmp_path / "checkpoints")

    restored = fetch(artifact, tmp_path / "resume")

    assert restored.name == file.partition("/")[0]
    assert (restored.parent / pointer).read_text() == content
