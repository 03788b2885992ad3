"""An archive that is produced while it is read."""

import io
import os
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.tar_stream import Changed, TarStream, blocks, member_of, size_of
from tests.saved_files import write


def unpacked(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(st.binary(max_size=3000), max_size=5),
    size=st.integers(min_value=1, max_value=5000),
)
def test_archive_read_in_pieces_contains_every_file(tmp_path, contents, size):
    files = {f"checkpoint-1/{n}": write(tmp_path / str(n), text) for n, text in enumerate(contents)}
    stream = TarStream(member_of(*item) for item in files.items())

    pieces = list(iter(lambda: stream.read(size), b""))

    assert unpacked(b"".join(pieces)) == {name: path.read_bytes() for name, path in files.items()}
    assert all(len(piece) == size for piece in pieces[:-1])


def test_size_is_known_in_advance(tmp_path):
    members = [member_of(name, write(tmp_path / name)) for name in ("a.pt", "检" * 80)]

    assert size_of(members) == len(b"".join(blocks(members)))


def test_long_and_undecodable_names_are_kept(tmp_path):
    name = os.fsdecode("检查点".encode("gbk")) + "x" * 200
    path = write(tmp_path / "file", b"weights")

    assert unpacked(TarStream([member_of(name, path)]).read()) == {name: b"weights"}


def test_file_that_disappears_is_noticed(tmp_path):
    path = write(tmp_path / "file")
    stream = TarStream(member_of(name, path) for name in ["file"])
    path.unlink()

    with pytest.raises(Changed):
        stream.read()


def test_file_that_is_cut_off_is_noticed(tmp_path):
    path = write(tmp_path / "file", b"x" * 5_000_000)
    stream = TarStream(member_of(name, path) for name in ["file"])
    stream.read(600)
    os.truncate(path, 1000)

    with pytest.raises(Changed):
        stream.read()
