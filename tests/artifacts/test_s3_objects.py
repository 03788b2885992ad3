"""Files in S3 are read from there, not from a copy on disk."""

import io
import os
import tarfile

import pytest
from botocore.exceptions import ClientError, ResponseStreamingError
from botocore.response import StreamingBody
from moto.s3.models import s3_backends

from artifacts import storing, uploads
from artifacts.s3_objects import MAX_FAILURES
from artifacts.storage import CHUNK_BYTES, artifact_storage, open_range
from artifacts.tar_stream import TarStream, member_of
from core.messages import in_english
from execution.executors import checkpoint_files
from execution.executors.checkpoint_files import Damaged
from execution.executors.found_checkpoint import FOLDER_SUFFIX
from tests.clients import ApiClient
from tests.factories import RunFactory
from tests.saved_files import safetensors, write, zipped

pytestmark = pytest.mark.django_db

CONTENT = os.urandom(3 * CHUNK_BYTES)
FILES = {"model.safetensors": safetensors(b"a" * 1000), "optimizer.pt": zipped(b"b")}


@pytest.fixture(autouse=True)
def no_copy(monkeypatch):
    """The module of django-storages cannot write a temporary file."""
    monkeypatch.setattr("storages.backends.s3.tempfile", None)


@pytest.fixture
def run():
    return RunFactory()


@pytest.fixture
def received(monkeypatch):
    """Sizes of what was read from S3's responses."""
    sizes = []
    read = StreamingBody.read

    def counted(body, amt=None):
        chunk = read(body, amt)
        sizes.append(len(chunk))
        return chunk

    monkeypatch.setattr(StreamingBody, "read", counted)
    return sizes


@pytest.fixture
def losing(monkeypatch):
    """Numbers of the reads from S3 at which the connection is lost."""
    numbers, count = set(), [0]
    read = StreamingBody.read

    def unreliable(body, amt=None):
        count[0] += 1
        if count[0] in numbers:
            body.close()
            raise ResponseStreamingError(error="reset")
        return read(body, amt)

    monkeypatch.setattr(StreamingBody, "read", unreliable)
    return numbers


def save(name, content=CONTENT):
    artifact_storage().save(name, io.BytesIO(content))


def store(run, path, content=CONTENT):
    return uploads.store(run, path, io.BytesIO(content))[0]


def store_folder(run):
    for name, content in FILES.items():
        store(run, f"checkpoint-1/{name}", content)
    return run.artifacts.checkpoints().get()


def store_archive(run, folder, files=FILES):
    """A folder as the worker stores it."""
    paths = {name: write(folder / name, content) for name, content in files.items()}
    archive = TarStream(member_of(f"checkpoint-1/{name}", path) for name, path in paths.items())
    content = io.BytesIO(archive.read())
    return storing.store_checkpoint(run, content, step=1, suffix=FOLDER_SUFFIX)


def gets(asked):
    return [item[1] for item in asked if item[0] == "GetObject"]


# --- reading ---------------------------------------------------------------------------------


def test_one_byte_is_read_of_one_response(s3, asked, received):
    save("a/x")

    with artifact_storage().open("a/x") as file:
        assert file.read(1) == CONTENT[:1]

    assert gets(asked) == [len(CONTENT)]
    assert sum(received) <= io.DEFAULT_BUFFER_SIZE


@pytest.mark.parametrize(("first", "end"), [(0, 10), (5, None), (CHUNK_BYTES, 2 * CHUNK_BYTES)])
def test_range_is_all_that_is_asked_for(s3, asked, first, end):
    save("a/x")

    with open_range("a/x", first, end) as file:
        assert file.read() == CONTENT[first:end]

    assert gets(asked) == [len(CONTENT[first:end])]


def test_bytes_beyond_the_end_are_missing(s3):
    save("a/x", b"short")

    with pytest.raises(FileNotFoundError):
        open_range("a/x", 5, 10)


def test_files_are_not_opened_for_writing(s3):
    with pytest.raises(ValueError, match="only read"):
        artifact_storage().open("a/x", "wb")


def test_lost_connection_is_made_again_where_it_was_lost(s3, asked, losing):
    save("a/x")
    losing.update({2, 3})

    with artifact_storage().open("a/x") as file:
        content = b"".join(iter(lambda: file.read(CHUNK_BYTES), b""))

    assert content == CONTENT
    rest = len(CONTENT) - CHUNK_BYTES
    assert gets(asked) == [len(CONTENT), rest, rest]


def test_connection_that_is_lost_again_and_again_is_an_error(s3, asked, losing):
    save("a/x")
    losing.update(range(1, 100))

    with artifact_storage().open("a/x") as file, pytest.raises(ResponseStreamingError):
        file.read(1)

    assert len(gets(asked)) == MAX_FAILURES


def test_lost_connection_is_not_continued_with_other_bytes(s3, losing):
    save("a/x")
    losing.add(2)

    with artifact_storage().open("a/x") as file:
        file.read(CHUNK_BYTES)
        save("a/x", bytes(len(CONTENT)))
        with pytest.raises(ClientError, match="PreconditionFailed"):
            file.read(CHUNK_BYTES)


def test_bytes_that_rotted_in_s3_are_damage(run, s3):
    """Also where S3 has a checksum of its own, which its client could check."""
    artifact = storing.store_checkpoint(run, io.BytesIO(CONTENT), step=1, suffix=".pt")
    [account] = s3_backends.values()
    stored = account["aws"].buckets[s3.bucket].keys[f"kept/here/{artifact.storage_key}"]
    assert stored.checksum_value
    stored._value_buffer.seek(0)
    stored._value_buffer.write(b"rotten")

    assert in_english(artifact.problem()) == "its sha256 is not the recorded one"


# --- downloads -------------------------------------------------------------------------------


def address(run, path):
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{path}"


def body(response):
    return b"".join(response.streaming_content)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", slice(None)),
        ("bytes=0-9", slice(10)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=2000000-", slice(2_000_000, None)),
    ],
)
def test_download_asks_for_what_is_sent(run, asked, header, part):
    store(run, "x")
    asked.clear()

    response = ApiClient().get(address(run, "files/x"), headers={"Range": header})

    assert body(response) == CONTENT[part]
    assert asked == [("GetObject", len(CONTENT[part]))]


def test_client_that_goes_away_ends_the_transfer(run, s3, received):
    store(run, "x")
    received.clear()
    response = ApiClient().get(address(run, "files/x"))

    next(response.streaming_content)
    response._iterator.close()

    assert sum(received) < len(CONTENT) / 2


@pytest.mark.parametrize("header", ["", "bytes=0-9"])
def test_head_asks_for_no_bytes(run, asked, header):
    store(run, "x")
    expected = ApiClient().get(address(run, "files/x"), headers={"Range": header})
    body(expected)
    asked.clear()

    response = ApiClient().head(address(run, "files/x"), headers={"Range": header})

    assert asked == ["HeadObject"]
    assert (response.status_code, response.headers) == (expected.status_code, expected.headers)


def test_head_of_missing_bytes_is_404(run, s3):
    artifact = store(run, "x")
    artifact_storage().delete(artifact.storage_key)

    assert ApiClient().head(address(run, "files/x")).status_code == 404


def test_archive_asks_for_each_file_once(run, asked):
    checkpoint = store_folder(run)
    asked.clear()

    content = body(ApiClient().get(address(run, f"{checkpoint.pk}/archive")))

    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {item.name: tar.extractfile(item).read() for item in tar}
    assert files == {f"checkpoint-1/{name}": text for name, text in FILES.items()}
    assert asked == [("GetObject", len(text)) for text in FILES.values()]


def test_head_of_an_archive_asks_for_nothing(run, asked):
    checkpoint = store_folder(run)
    archive = address(run, f"{checkpoint.pk}/archive")
    size = len(body(ApiClient().get(archive)))
    asked.clear()

    response = ApiClient().head(archive)

    assert asked == []
    assert response["Content-Length"] == str(size)


# --- resuming --------------------------------------------------------------------------------


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_folder_to_resume_from_is_fetched_by_one_request(run, asked, tmp_path):
    checkpoint = store_archive(run, tmp_path / "saved")
    asked.clear()

    folder = checkpoint_files.fetch(checkpoint, tmp_path / "resume")

    assert (folder.name, files_in(folder)) == ("checkpoint-1", FILES)
    assert asked == [("GetObject", checkpoint.size_bytes)]


def test_uploaded_folder_to_resume_from_is_fetched_by_one_request_for_a_file(run, asked, tmp_path):
    checkpoint = store_folder(run)
    asked.clear()

    folder = checkpoint_files.fetch(checkpoint, tmp_path / "resume")

    assert files_in(folder) == FILES
    assert asked == [("GetObject", len(text)) for text in FILES.values()]


def test_unreachable_storage_is_not_damage_and_leaves_nothing(run, s3, losing, tmp_path):
    """A later attempt to resume finds the checkpoint as whole as it is."""
    checkpoint = store_archive(run, tmp_path / "saved", {**FILES, "c.bin": CONTENT})
    losing.update(range(3, 100))

    with pytest.raises(ResponseStreamingError):
        checkpoint_files.fetch(checkpoint, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_checkpoint_that_is_deleted_while_it_is_fetched_is_missing(
    run, s3, losing, monkeypatch, tmp_path
):
    checkpoint = store_archive(run, tmp_path / "saved", {"c.bin": CONTENT})
    losing.add(2)
    unpack = tarfile.TarFile.extractall

    def deleted(tar, folder, **options):
        artifact_storage().delete(checkpoint.storage_key)
        unpack(tar, folder, **options)

    monkeypatch.setattr(tarfile.TarFile, "extractall", deleted)

    with pytest.raises(Damaged, match="丢失"):
        checkpoint_files.fetch(checkpoint, tmp_path / "resume")

    assert list((tmp_path / "resume").iterdir()) == []


def test_checkpoint_is_proven_by_one_request(run, asked):
    artifact = storing.store_checkpoint(run, io.BytesIO(CONTENT), step=1, suffix=".pt")
    asked.clear()

    assert artifact.problem() is None

    assert asked == [("GetObject", len(CONTENT))]
