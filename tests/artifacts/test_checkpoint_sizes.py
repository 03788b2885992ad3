"""How large checkpoints are that are folders."""

import io

import pytest

from artifacts import uploads
from artifacts.checkpoint_sizes import ids_by_size, sizes_of
from artifacts.models import Artifact
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db


def store(run, path, size_bytes):
    return uploads.store(run, path, io.BytesIO(b"x" * size_bytes))[0]


def folder_checkpoint(run, name="checkpoint-200", size_bytes=1000):
    """Of two files, the one of its row with 10 bytes."""
    artifact = store(run, f"{name}/model.safetensors.index.json", 10)
    store(run, f"{name}/model-00001-of-00001.safetensors", size_bytes - 10)
    return Artifact.objects.get(pk=artifact.pk)


def test_size_of_a_folder_is_that_of_all_its_files():
    run = RunFactory()
    folder = folder_checkpoint(run)
    store(run, "checkpoint-200/rng/state.pth", 5)
    for beside in ("checkpoint-2000/model.safetensors", "checkpoint-20.bin", "checkpoint-200.txt"):
        store(run, beside, 7)
    folder_checkpoint(RunFactory(project=run.project))

    assert sizes_of([folder]) == {folder.pk: 1005}


def test_size_of_a_file_is_its_own():
    run = RunFactory()
    single = checkpoint(run, content=b"1234")
    uploaded = store(run, "weights/step=3.ckpt", 6)

    assert sizes_of([single, uploaded]) == {single.pk: 4, uploaded.pk: 6}


@pytest.mark.parametrize(("folders", "queries"), [(0, 0), (1, 1), (5, 1)])
def test_query_count_does_not_grow_with_the_folders(folders, queries, django_assert_num_queries):
    run = RunFactory()
    checkpoints = [checkpoint(run)]
    checkpoints += [folder_checkpoint(run, f"checkpoint-{step}") for step in range(folders)]

    with django_assert_num_queries(queries):
        sizes_of(checkpoints)


def test_ids_are_sorted_by_the_size_of_all_files():
    run = RunFactory()
    single = checkpoint(run, content=b"x" * 500)
    large = folder_checkpoint(run, "checkpoint-1", 1000)
    small = folder_checkpoint(run, "checkpoint-2", 20)
    checkpoints = Artifact.objects.checkpoints()

    smallest_first = [small.pk, single.pk, large.pk]
    assert ids_by_size(checkpoints, largest_first=False) == smallest_first
    assert ids_by_size(checkpoints, largest_first=True) == smallest_first[::-1]
