"""Uploads to S3 of what can be read only once, in parts that suffice and fit into memory."""

import io
from types import SimpleNamespace

import pytest

from artifacts import s3_uploads, storage
from artifacts.s3_uploads import MEMORY_BYTES, MIB, part_bytes, transfer_config
from artifacts.storage import HashingFile, artifact_storage
from execution.executors.checkpoint_scan import scan
from execution.executors.ingestion import Ingestion
from tests.clients import ApiClient
from tests.factories import RunFactory, running
from tests.saved_files import write

GIB = 1024 * MIB
PARTS_OF_S3 = 10_000


@pytest.mark.parametrize("size", [0, 1, MIB, 70 * GIB, 78 * GIB, 200 * GIB, 840 * GIB, 5120 * GIB])
def test_parts_suffice_for_a_file_that_is_a_little_larger_than_expected(size):
    assert PARTS_OF_S3 * part_bytes(size) >= 1.1 * size


def test_parts_suffice_for_hundreds_of_gigabytes_of_unknown_size():
    assert PARTS_OF_S3 * part_bytes(None) > 600 * GIB


@pytest.mark.parametrize("size", [None, 0, 78 * GIB, 200 * GIB, 840 * GIB])
def test_memory_holds_the_parts_that_are_sent_and_the_one_that_is_read(size):
    config = transfer_config(size)

    in_memory = config.max_in_memory_upload_chunks + 1
    assert in_memory * config.multipart_chunksize <= MEMORY_BYTES


def test_announced_size_beyond_any_object_takes_no_more_memory():
    assert part_bytes(10**18) == part_bytes(5120 * GIB)


@pytest.mark.parametrize(
    ("expected", "size", "parts"),
    [
        (7 * MIB, 7 * MIB, 0),
        (20 * MIB, 20 * MIB, 3),
        (100 * GIB, 20 * MIB, 2),  # of 12 MiB
        (None, 20 * MIB, 1),
    ],
    ids=["at once", "small parts", "larger parts", "unknown"],
)
def test_upload_is_sent_in_parts_for_its_size(s3, asked, expected, size, parts):
    source = HashingFile(io.BytesIO(bytes(size)), expected_bytes=expected)

    artifact_storage().save("a/x", source)

    assert asked.count("UploadPart") == parts
    assert asked.count("PutObject") == (0 if parts else 1)
    assert artifact_storage().size("a/x") == size


def test_source_is_read_no_further_than_memory_allows(s3, monkeypatch):
    monkeypatch.setattr(s3_uploads, "PART_BYTES_OF_UNKNOWN", 8 * MIB)
    monkeypatch.setattr(s3_uploads, "MEMORY_BYTES", 24 * MIB)
    source, sent, held = HashingFile(io.BytesIO(bytes(80 * MIB))), [], []

    def record(model, **_unused):
        held.append(source.byte_count - sum(sent))
        if model.name == "UploadPart":
            sent.append(8 * MIB)

    artifact_storage().connection.meta.client.meta.events.register("after-call.s3", record)

    artifact_storage().save("a/x", source)

    assert max(held) <= 24 * MIB
    assert sum(sent) == 80 * MIB


def test_source_that_returns_little_at_once_fills_the_parts(s3, asked):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 10_000))

    source = HashingFile(Slow(bytes(20 * MIB)), expected_bytes=20 * MIB)

    artifact_storage().save("a/x", source)

    assert asked.count("UploadPart") == 3


# --- what announces a size -------------------------------------------------------------------


@pytest.fixture
def sizes(s3, monkeypatch):
    """The sizes by which parts were chosen."""
    seen = []

    def recorded(size):
        seen.append(size)
        return transfer_config(size)

    monkeypatch.setattr(storage, "transfer_config", recorded)
    return seen


@pytest.mark.django_db
def test_content_length_announces_the_size_of_an_upload(sizes):
    run = RunFactory()
    path = f"/projects/{run.project_id}/runs/{run.pk}/artifacts/files/x"

    ApiClient().put(path, b"content", content_type="application/octet-stream")

    assert sizes == [7]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["step-1.pt", "checkpoint-1/model.pt"], ids=["file", "folder"])
def test_checkpoint_on_a_workers_disk_announces_its_size(sizes, tmp_path, path):
    file = write(tmp_path / "checkpoints" / path)
    [found] = scan(tmp_path / "checkpoints").checkpoints

    run = running()

    Ingestion(run, run.worker, SimpleNamespace(number=1))._copy(found, 1)

    assert sizes == [file.stat().st_size]
