"""What of a folder is sent, and what is told before anything is."""

import io
import os
import random
import shutil
import subprocess
import sys

import pytest
from trainhub_client import git_state, packing

from code_bundles import archives
from code_bundles.manifest import hash_of
from tests.client.program import CLIENT, Program
from tests.code_bundles.bundles import commit, git

sys.path.insert(0, str(CLIENT))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def fill(folder, *paths, text="x"):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def paths(folder):
    return [file.path for file in packing.files_of(folder)]


def git_lists(folder):
    """What git would take into a commit, by its own rules."""
    git(folder, "init", "--quiet")
    listing = git(folder, "ls-files", "--others", "--exclude-standard", "-z")
    return sorted(path for path in listing.split("\0") if path)


IGNORED = {
    ".gitignore": "*.log\n!keep.log\n/data/\nbuild/\n**/tmp*.py\n# note\n\\#odd\ndeep/**/x\n",
    "lib/.gitignore": "!*.log\n/only_here.py\n*.bin\n",
    "lib/sub/.gitignore": "!wanted.bin\n",
    "a.log": "", "keep.log": "", "data/big": "", "lib/data/small": "", "build/out": "",
    "lib/build/out": "", "lib/b.log": "", "lib/only_here.py": "", "lib/sub/only_here.py": "",
    "lib/c.bin": "", "lib/sub/wanted.bin": "", "lib/sub/other.bin": "", "lib/tmp1.py": "",
    "#odd": "", "deep/x": "", "deep/a/b/x": "", "train.py": "",
}  # fmt: skip


def test_files_are_those_that_git_would_take(folder):
    for path, text in IGNORED.items():
        fill(folder, path, text=text)

    assert paths(folder) == git_lists(folder)
    assert "lib/b.log" in paths(folder)


def test_rules_of_folders_above_count_in_a_repository(folder):
    fill(folder, ".gitignore", text="*.bin\n/part/local.txt\n")
    fill(folder, "part/a.py", "part/b.bin", "part/local.txt", "part/deep/local.txt")
    (folder / ".git").mkdir()

    assert paths(folder / "part") == ["a.py", "deep/local.txt"]


def test_trainhubignore_has_the_last_word(folder):
    fill(folder, ".gitignore", text="*.json\nsecret\n")
    fill(folder, ".trainhubignore", text="!small.json\nnotes\n")
    fill(folder, "small.json", "big.json", "notes", "secret", "train.py")

    assert paths(folder) == [".gitignore", ".trainhubignore", "small.json", "train.py"]


def test_git_and_caches_are_left_out(folder):
    fill(folder, ".git/config", "lib/__pycache__/a.pyc", "vendored/.git", "train.py")

    assert paths(folder) == ["train.py"]


def test_links_inside_are_kept_and_others_refused(folder):
    fill(folder, "lib/a.py")
    (folder / "inside").symlink_to("lib/a.py")
    assert next((file.path, file.kind) for file in packing.files_of(folder)) == ("inside", "l")

    (folder / "lib/outside").symlink_to("../../elsewhere")
    (folder / "absolute").symlink_to("/etc/passwd")
    with pytest.raises(packing.CannotPack) as refused:
        packing.files_of(folder)
    assert "lib/outside leads out" in str(refused.value)
    assert "absolute leads out" in str(refused.value)


def test_name_that_is_not_utf8_is_refused(folder):
    fill(folder, "train.py")
    (folder / os.fsdecode(b"caf\xe9.py")).write_text("x")

    with pytest.raises(packing.CannotPack, match="not in UTF-8"):
        packing.files_of(folder)


def test_names_that_collide_elsewhere_are_refused(folder):
    fill(folder, "Net.py", "net.py")

    with pytest.raises(packing.CannotPack, match="same name"):
        packing.files_of(folder)


def test_pipe_is_refused(folder):
    os.mkfifo(folder / "pipe")

    with pytest.raises(packing.CannotPack, match="neither a file nor a link"):
        packing.files_of(folder)


def test_folder_without_files_is_refused(folder):
    with pytest.raises(packing.CannotPack, match="no files"):
        packing.files_of(folder)


def test_hash_and_archive_are_as_the_server_has_them(folder):
    fill(folder, "数据/a.py", "train.py", text="print()\n" * 1000)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    content = io.BytesIO()

    packed = packing.pack(folder, packing.files_of(folder), content)

    with archives.opened(content) as archive:
        assert hash_of(archives.examined(archive)) == packed.sha256


def test_same_files_make_the_same_archive(folder, tmp_path):
    fill(folder, "a.py", "b/c.py")
    other = shutil.copytree(folder, tmp_path / "other")
    os.utime(other / "a.py", (0, 0))

    made = [io.BytesIO(), io.BytesIO()]
    for source, target in zip((folder, other), made, strict=True):
        packing.pack(source, packing.files_of(source), target)

    assert made[0].getvalue() == made[1].getvalue()


def test_too_large_folder_is_told_with_its_largest_files(folder, monkeypatch):
    monkeypatch.setattr(packing, "MAX_ARCHIVE_BYTES", 10_000)
    fill(folder, "train.py")
    (folder / "weights.bin").write_bytes(random.Random(1).randbytes(20_000))

    with pytest.raises(packing.CannotPack) as refused:
        packing.pack(folder, packing.files_of(folder), io.BytesIO())

    assert str(refused.value).splitlines()[1].split() == ["20.0", "kB", "weights.bin"]


def test_folder_of_101_mb_is_refused_before_a_server_is_asked(folder, tmp_path):
    chunk = random.Random(1).randbytes(101 * 1024)
    with (folder / "weights.bin").open("wb") as file:
        for number in range(1024):
            file.write(number.to_bytes(4, "big") + chunk[4:])
    # Each chunk is unlike the others for deflate, whose window is 32 kB.
    program = Program(tmp_path, TRAINHUB_URL="http://127.0.0.1:9", TRAINHUB_PROJECT="proj_1")

    done = program("submit", "--code", str(folder))

    assert done.code == 4
    assert "at most 100 MB" in done.err
    assert "weights.bin" in done.err


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [(".env", True), (".env.local", True), ("id_ed25519", True), ("key.pem", True),
     (".env.example", False), ("id_rsa.pub", False), ("environment.py", False)],
)  # fmt: skip
def test_likely_secrets_are_told(name, is_secret):
    files = [packing.File(f"config/{name}", "f", 1)]

    assert bool(packing.likely_secrets(files)) is is_secret


# --- the commit ------------------------------------------------------------------------------


def test_state_of_a_clean_repository(folder):
    made = commit(folder, {"a.py": "x\n"})

    state = git_state.describe(folder)

    assert state == {"commit": made, "branch": "main", "dirty": False}


def test_state_of_a_changed_folder_of_a_repository(folder):
    commit(folder, {"part/a.py": "x\n", "other.py": "x\n"})
    fill(folder, "part/a.py", "other.py", "part/new.py", text="changed\n")

    state = git_state.describe(folder / "part")

    assert state["dirty"] is True
    assert "+changed" in state["patch"]
    assert "other.py" not in state["patch"]


def test_folder_in_no_repository_has_no_state(folder):
    assert git_state.describe(folder) == {}


def test_long_patch_is_cut(folder, monkeypatch):
    monkeypatch.setattr(git_state, "MAX_PATCH_LENGTH", 200)
    commit(folder, {"a.py": "x\n"})
    fill(folder, "a.py", text="line\n" * 100)

    patch = git_state.describe(folder)["patch"]

    assert len(patch) <= 200
    assert patch.endswith("# The rest is left out.\n")


def test_client_imports_nothing_of_the_server():
    """Its package alone is on the path of another machine."""
    code = "import trainhub_client.main, sys; print({'django', 'core', 'runs'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CLIENT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
