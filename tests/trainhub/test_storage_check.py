"""Reading what is stored again: damage, missing files, files of nothing."""

import errno
import io
import os
import time
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import translation

from artifacts import storing, uploads
from artifacts.models import Artifact, DamagedCheckpoint
from artifacts.storage import artifact_storage
from runs.models import RunCode
from runs.status import RunStatus
from tests.code_bundles.bundles import bundle
from tests.factories import RunFactory, checkpoint, damage, stored_path, unmanaged_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english_terminal(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def run():
    return RunFactory(status=RunStatus.COMPLETED)


def verify(*options):
    """What the command prints, and its exit code."""
    output = io.StringIO()
    try:
        call_command("verify_artifacts", *options, stdout=output)
    except CommandError as error:
        return output.getvalue(), error.returncode
    return output.getvalue(), 0


def test_sound_files_are_noted_as_verified(run):
    artifact = checkpoint(run)
    Artifact.objects.update(verified_at=None)

    output, code = verify()

    assert (output, code) == ("1 files were read: all are as they were stored.\n", 0)
    artifact.refresh_from_db()
    assert artifact.verified_at is not None


def test_damaged_checkpoint_is_told_and_can_no_longer_be_tagged(run):
    artifact = checkpoint(run)
    damage(artifact)

    output, code = verify()

    assert code == 1
    assert output == f"{artifact.pk} {run.pk} {artifact.file}: its sha256 is not the recorded one\n"
    artifact.refresh_from_db()
    with pytest.raises(DamagedCheckpoint):
        artifact.tag("发布", notes="", by=None)


def test_checkpoint_whose_bytes_are_back_is_whole_again(run):
    artifact = checkpoint(run)
    content = stored_path(artifact).read_bytes()
    stored_path(artifact).unlink()
    assert verify()[1] == 1

    stored_path(artifact).write_bytes(content)

    assert verify()[1] == 0
    artifact.refresh_from_db()
    assert (artifact.damage, artifact.metadata) == ("", {})


def test_damage_that_was_there_when_it_was_stored_stays(run):
    artifact = checkpoint(run)
    artifact.set_damage("it is cut off")
    artifact.save()

    assert verify()[1] == 0

    artifact.refresh_from_db()
    assert artifact.damage == "it is cut off"


def test_damaged_file_of_a_folder_damages_its_checkpoint(run):
    for name in ("pytorch_model.bin", "optimizer.pt"):
        uploads.store(run, f"checkpoint-10/{name}", io.BytesIO(b"weights"))
    whole = Artifact.objects.get(type="checkpoint")
    path = stored_path(Artifact.objects.get(file="checkpoint-10/optimizer.pt"))
    path.unlink()

    verify()

    whole.refresh_from_db()
    with translation.override("en"):
        assert str(whole.damage) == "optimizer.pt: its bytes are missing"

    path.write_bytes(b"weights")
    verify()

    whole.refresh_from_db()
    assert whole.damage == ""


def test_file_that_a_run_is_rewriting_is_no_damage():
    run = unmanaged_run()
    artifact = storing.store_config(run, io.BytesIO(b"old"))
    stored_path(artifact).write_bytes(b"new")
    read = Artifact.storage_problem

    def read_then_record(self):
        problem = read(self)
        storing.store_config(run, io.BytesIO(b"new"))
        return problem

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Artifact, "storage_problem", read_then_record)

        assert verify()[1] == 0


def test_code_bundle_that_is_missing_is_told(run):
    code = RunCode.objects.create(run=run, bundle=bundle({"train.py": "print(1)"}))
    artifact_storage().delete(code.bundle.stored_as)

    output, code_ = verify()

    assert (output, code_) == (f"{code.bundle.stored_as}: its bytes are missing\n", 1)


def fail_to_open(monkeypatch, *failing):
    """What a disk with a bad sector does."""
    storage = type(artifact_storage())
    open_ = storage.open

    def opened(self, name, mode="rb"):
        if name in failing:
            raise OSError(errno.EIO, "Input/output error")
        return open_(self, name, mode)

    monkeypatch.setattr(storage, "open", opened)


def test_file_that_cannot_be_read_is_told_and_the_others_are_read(run, monkeypatch):
    broken, sound = checkpoint(run, step=1), checkpoint(run, step=2)
    Artifact.objects.update(verified_at=None)
    fail_to_open(monkeypatch, broken.storage_key)

    output, code = verify()

    assert code == 1
    assert output.startswith(f"{broken.pk} {run.pk} {broken.file}: it cannot be read: ")
    assert output.count("\n") == 1
    for artifact, is_verified in ((broken, False), (sound, True)):
        artifact.refresh_from_db()
        assert (artifact.verified_at is not None) is is_verified
        assert artifact.damage == ""  # which is not known


def test_storage_that_is_away_ends_it(run, monkeypatch):
    artifacts = [checkpoint(run, step=step) for step in range(12)]
    fail_to_open(monkeypatch, *(artifact.storage_key for artifact in artifacts))

    output, code = verify()

    assert code == 1
    assert output.count("cannot be read") == 9


def test_file_of_nothing_is_told_once_it_is_old(run):
    checkpoint(run)
    path = Path(artifact_storage().path(f"{run.project_id}/{run.pk}/left.bin"))
    path.write_bytes(b"12345")
    assert verify()[1] == 0

    two_days_ago = time.time() - 2 * 86_400
    os.utime(path, (two_days_ago, two_days_ago))

    key = f"{run.project_id}/{run.pk}/left.bin"
    assert verify() == (f"{key}: nothing refers to its 5 bytes\n", 1)


def test_only_the_artifacts_of_a_run_are_read(run):
    damage(checkpoint(run))
    other = RunFactory(project=run.project, status=RunStatus.COMPLETED)
    checkpoint(other)

    assert verify("--run", other.pk)[1] == 0
    assert verify("--project", run.project_id)[1] == 1
    assert verify("--run", "run_none")[1] == 1


def test_what_was_verified_lately_is_left_out(run):
    damage(checkpoint(run))

    assert verify("--days", "1") == ("0 files were read: all are as they were stored.\n", 0)
    assert verify("--days", "0")[1] == 1
