"""Checkpoints that change after they were ingested are stored with all of their bytes."""

import io
import shutil
import tarfile

import pytest

from artifacts.models import Artifact
from execution.executors.ingestion import Ingestion
from execution.executors.notes import notes_of
from execution.mirror.materializing import drop_ingested, materialize, restore
from execution.models import MirroredAttempt, MirroredChunk
from runs.models import Run

pytestmark = pytest.mark.django_db

WEIGHTS, STATE = "step-1/sub/weights.bin", "step-1/state.bin"


def poll(mirrored, attempt):
    """What a worker does with what has arrived."""
    restore(mirrored, attempt)
    materialize(MirroredAttempt.objects.get(pk=mirrored.pk), attempt)
    run = Run.objects.select_related("recipe", "worker").get(pk=mirrored.run_id)
    assert Ingestion(run, run.worker, attempt).ingest(None)
    run.refresh_from_db()
    drop_ingested(mirrored, notes_of(run, attempt))


def on_another_host(attempt):
    shutil.rmtree(attempt.directory)


def stored():
    """The files of the newest checkpoint, by path."""
    artifact = Artifact.objects.checkpoints().order_by("updated_at").last()
    with artifact.open() as file:
        content = io.BytesIO(file.read())
    with tarfile.open(fileobj=content) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}


def save_and_ingest(node, mirrored, attempt):
    node.save(WEIGHTS, b"weights", age_seconds=100)
    node.save(STATE, b"first", age_seconds=100)
    node.send()
    poll(mirrored, attempt)
    assert not MirroredChunk.objects.exists()
    assert stored() == {WEIGHTS: b"weights", STATE: b"first"}


def test_file_that_changes_after_a_takeover_is_stored_with_the_others(node, mirrored, attempt):
    save_and_ingest(node, mirrored, attempt)
    on_another_host(attempt)
    poll(mirrored, attempt)
    node.save(STATE, b"second", age_seconds=50)
    node.send()

    poll(mirrored, attempt)

    assert stored() == {WEIGHTS: b"weights", STATE: b"second"}


def test_file_that_has_changed_before_a_takeover_is_stored_with_the_others(node, mirrored, attempt):
    save_and_ingest(node, mirrored, attempt)
    node.save(STATE, b"second", age_seconds=50)
    node.send()
    on_another_host(attempt)

    poll(mirrored, attempt)

    assert stored() == {WEIGHTS: b"weights", STATE: b"second"}
    assert not (attempt.directory / "stored").exists()


def test_checkpoint_of_which_bytes_are_lost_is_not_stored_again(node, mirrored, attempt):
    save_and_ingest(node, mirrored, attempt)
    on_another_host(attempt)
    poll(mirrored, attempt)
    Artifact.objects.all().delete()
    node.save(STATE, b"second", age_seconds=50)
    node.save("step-2.bin", b"next", age_seconds=50)
    node.send()

    poll(mirrored, attempt)

    [artifact] = Artifact.objects.checkpoints()
    assert artifact.step == 2


def test_late_file_with_an_old_date_is_kept_until_it_is_ingested(node, mirrored, attempt):
    save_and_ingest(node, mirrored, attempt)
    node.save("step-1/tokenizer.bin", b"copied", age_seconds=5000)
    node.send()
    run = Run.objects.get(pk=mirrored.run_id)

    drop_ingested(mirrored, notes_of(run, attempt))  # before it was written here
    poll(mirrored, attempt)

    assert stored()["step-1/tokenizer.bin"] == b"copied"
