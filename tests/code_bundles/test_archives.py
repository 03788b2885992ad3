"""Archives of code: what is refused before it is unpacked, and how the rest is."""

import io
import stat
import struct
import zipfile

import pytest

from code_bundles import archives, limits, manifest
from code_bundles.manifest import EXECUTABLE, FILE, LINK, BadBundle, Entry, hash_of
from tests.code_bundles.bundles import link, packed, zip_of

REGULAR = stat.S_IFREG | 0o644


def examined(content):
    with archives.opened(io.BytesIO(content)) as archive:
        return archives.examined(archive)


def file(name, content=b"x"):
    return name, content, REGULAR


BAD_NAMES = ["/etc/passwd", "../up.py", "a/../../up.py", "a//b", "./a", "a\\b", "a\nb", "C:\\x"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_name_that_leads_out_is_refused(name):
    with pytest.raises(BadBundle):
        examined(zip_of(file(name)))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "..", "", "a/../../..", "x\ny"])
def test_link_that_leads_out_is_refused(target):
    with pytest.raises(BadBundle, match="leads out"):
        examined(zip_of(file("a.py"), link("link", target)))


def test_link_inside_is_kept():
    entries = examined(zip_of(file("lib/a.py"), link("bin/a", "../lib/a.py")))

    assert [(entry.path, entry.kind) for entry in entries] == [("bin/a", LINK), ("lib/a.py", FILE)]


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_device_is_refused(kind):
    with pytest.raises(BadBundle, match="neither a file nor a link"):
        examined(zip_of(("dev", b"", kind | 0o600)))


@pytest.mark.parametrize(
    "names",
    [
        ("Train.py", "train.py"),
        ("a/x.py", "A/y.py"),
        ("lib", "lib/a.py"),
        ("caf\u00e9.py", "cafe\u0301.py"),
    ],
)
def test_names_that_are_the_same_on_some_systems_are_refused(names):
    with pytest.raises(BadBundle, match="the same on some systems"):
        examined(zip_of(*(file(name) for name in names)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_name_is_refused():
    with pytest.raises(BadBundle, match="the same"):
        examined(zip_of(file("a.py"), file("a.py", b"y")))


def test_files_of_git_are_refused():
    with pytest.raises(BadBundle, match="Git itself"):
        examined(zip_of(file(".git/config")))


def test_bomb_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(manifest, "MAX_UNPACKED_BYTES", 1000)

    with pytest.raises(BadBundle, match="Unpacked"):
        examined(zip_of(file("zeros", bytes(1001))))


def test_file_larger_than_its_entry_says_is_refused():
    """The size in the directory is what counts: reading ends there, and the checksum is wrong."""
    content = bytearray(zip_of(file("zeros", bytes(100_000))))
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<L", content, directory + 24, 10)

    with pytest.raises(BadBundle):
        examined(bytes(content))


def test_too_many_files_are_refused(monkeypatch):
    for module in (archives, manifest):
        monkeypatch.setattr(module, "MAX_FILES", 2)

    with pytest.raises(BadBundle, match="3 files"):
        examined(zip_of(*(file(f"{number}.py") for number in range(3))))


def test_large_directory_is_refused_unread(monkeypatch):
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 50)

    with pytest.raises(BadBundle, match="directory is too large"):
        examined(zip_of(file("a" * 100)))


def test_locator_of_another_directory_is_refused():
    content = zip_of(file("a.py"))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)

    with pytest.raises(BadBundle, match="kind"):
        examined(content[:-22] + locator + content[-22:])


@pytest.mark.parametrize(
    "content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), packed({"a": "b"})[:-1]]
)
def test_what_is_no_archive_is_refused(content):
    with pytest.raises(BadBundle):
        examined(content)


def test_damaged_file_is_refused():
    content = bytearray(packed({"a.py": "print('hello')" * 100}))
    content[60] ^= 0xFF

    with pytest.raises(BadBundle, match="sound zip"):
        examined(bytes(content))


def test_encrypted_file_is_refused():
    content = bytearray(packed({"a.py": "x"}))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(BadBundle, match="encrypted"):
        examined(bytes(content))


# --- the hash --------------------------------------------------------------------------------


def test_hash_does_not_depend_on_the_archive():
    files = {"b.py": "print()", "a/c.py": "x" * 1000}
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)

    assert hash_of(examined(stored.getvalue())) == hash_of(examined(packed(files)))


@pytest.mark.parametrize("kind", [FILE, EXECUTABLE, LINK])
def test_hash_is_of_paths_kinds_and_contents(kind):
    entry = Entry("a", kind, 1, "00")

    changed = [entry._replace(path="b"), entry._replace(sha256="01"), entry._replace(kind="?")]
    assert hash_of([entry]) not in {hash_of([other]) for other in changed}


def test_same_files_make_the_same_archive():
    assert packed({"b": "1", "a": "2"}) == packed({"a": "2", "b": "1"})


# --- unpacking -------------------------------------------------------------------------------


def unpacked(content, folder):
    with archives.opened(io.BytesIO(content)) as archive:
        archives.unpack(archive, folder, hash_of(examined(content)))


def test_unpacks_files_with_modes_and_links(tmp_path):
    script = ("bin/run.sh", b"#!/bin/sh\n", stat.S_IFREG | 0o4755)
    content = zip_of(script, file("lib/数据.py", b"data"), link("run", "bin/run.sh"))

    unpacked(content, tmp_path / "code")

    assert (tmp_path / "code/lib/数据.py").read_bytes() == b"data"
    assert (tmp_path / "code/run").read_bytes() == b"#!/bin/sh\n"
    modes = [
        stat.S_IMODE((tmp_path / "code" / name).stat().st_mode) for name in ("run", "lib/数据.py")
    ]
    assert modes == [0o755, 0o644]  # and neither setuid nor what the umask says


def test_other_files_than_were_stored_are_refused(tmp_path):
    content = packed({"a.py": "x"})

    with (
        archives.opened(io.BytesIO(content)) as archive,
        pytest.raises(BadBundle, match="not those"),
    ):
        archives.unpack(archive, tmp_path / "code", "0" * 64)


def test_limits_are_those_of_the_documentation():
    assert limits.MAX_ARCHIVE_BYTES == 100 * 1024**2
