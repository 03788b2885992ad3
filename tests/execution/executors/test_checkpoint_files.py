"""Which files are checkpoints, and of which step."""

import io
import math
import os
import tarfile
import time

import pytest

from artifacts import storing
from execution.executors.attempt import Ending
from execution.executors.checkpoint_files import (
    FOLDER_SUFFIX,
    CheckpointFile,
    Damaged,
    fetch,
    settled,
)
from tests.factories import RunFactory, checkpoint, damage

ENDED = Ending(0, at=0.0)


def write(path, *, age_seconds=60.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    at = time.time() - age_seconds
    os.utime(path, (at, at))
    return path


def names(checkpoints):
    return [item.path.name for item in checkpoints]


@pytest.mark.parametrize(
    ("name", "step", "suffix"),
    [
        ("step-00000200.npz", 200, ".npz"),
        ("checkpoint-500.pt", 500, ".pt"),
        ("epoch=3-step=1200.ckpt", 1200, ".ckpt"),
        ("model_v2_step100_loss0.35.safetensors", 100, ".safetensors"),
        ("STEP_7.pt", 7, ".pt"),
        ("epoch_12.pt", 12, ".pt"),
        ("latest.pt", None, ".pt"),
        ("step-99999999999999999999.pt", None, ".pt"),
        ("weights", None, ""),
        ("step-5.a b", 5, ""),
        ("step-5.权重", 5, ""),
    ],
)
def test_step_and_suffix_are_read_from_the_name(tmp_path, name, step, suffix):
    file = CheckpointFile(write(tmp_path / name), 7, 0)

    assert (file.step, file.suffix) == (step, suffix)


def test_folder_has_the_step_of_its_name_and_the_folder_suffix(tmp_path):
    write(tmp_path / "checkpoint-1.5-500" / "model.bin")

    [folder] = settled(tmp_path, ENDED)

    assert (folder.step, folder.suffix) == (500, FOLDER_SUFFIX)


def test_checkpoints_are_ordered_by_step(tmp_path):
    for name in ("step-10.pt", "step-9.pt", "step-100.pt"):
        write(tmp_path / name)

    assert names(settled(tmp_path, None)) == ["step-9.pt", "step-10.pt", "step-100.pt"]


@pytest.mark.parametrize("name", [".step-1.pt", "step-1.pt.tmp", "step-1.pt.part"])
def test_temporary_name_is_no_checkpoint(tmp_path, name):
    write(tmp_path / name)

    assert settled(tmp_path, ENDED) == []


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (None, ["old.pt"]),
        (Ending(0, at=0.0), ["new.pt", "old.pt"]),
        (Ending(1, at=0.0), ["new.pt", "old.pt"]),
        (Ending(-9, at=1e12), ["new.pt", "old.pt"]),
        (Ending(-9, at=0.0), []),
        (Ending(None, at=0.0), []),
    ],
    ids=str,
)
def test_new_file_counts_only_if_it_cannot_be_incomplete(tmp_path, ending, expected):
    write(tmp_path / "old.pt", age_seconds=30)
    write(tmp_path / "new.pt", age_seconds=0)

    assert sorted(names(settled(tmp_path, ending))) == expected


def test_folder_with_a_new_file_is_not_complete_yet(tmp_path):
    write(tmp_path / "checkpoint-5" / "model.bin")
    write(tmp_path / "checkpoint-5" / "state" / "optimizer.bin", age_seconds=0)

    assert settled(tmp_path, None) == []


def test_empty_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()

    assert settled(tmp_path, ENDED) == []


def test_missing_folder_has_no_checkpoints(tmp_path):
    assert settled(tmp_path / "nothing", ENDED) == []


def test_version_differs_with_attempt_and_content(tmp_path):
    path = write(tmp_path / "step-1.pt")
    file = CheckpointFile(path, 7, 1)

    versions = {file.version(1), file.version(2), CheckpointFile(path, 7, 2).version(1)}

    assert len(versions) == 3
    assert file.version(1) == CheckpointFile(path, 7, 1).version(1)


def test_files_of_a_command_that_ended_by_itself_are_always_trusted():
    assert Ending(143, at=5.0).trusted_until == math.inf
    assert Ending(-15, at=5.0).trusted_until == 5.0


@pytest.mark.django_db
def test_fetched_checkpoint_has_its_original_content(tmp_path):
    artifact = checkpoint(RunFactory(), content=b"weights")

    assert fetch(artifact, tmp_path / "resume").read_bytes() == b"weights"


@pytest.mark.django_db
def test_damaged_checkpoint_is_not_fetched(tmp_path):
    artifact = checkpoint(RunFactory())
    damage(artifact)

    with pytest.raises(Damaged, match="sha256"):
        fetch(artifact, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


@pytest.mark.django_db
def test_folder_that_would_unpack_outside_the_target_is_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("../../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    packed.seek(0)
    run = RunFactory()
    artifact = storing.store_checkpoint(run, packed, step=1, suffix=FOLDER_SUFFIX)

    with pytest.raises(Damaged, match="unpacked"):
        fetch(artifact, tmp_path / "a" / "b" / "resume")

    assert not (tmp_path / "outside").exists()
