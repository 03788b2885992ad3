"""Which files of a node its server is to have."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import layouts
from execution.launcher import tree
from execution.launcher.nodes import Node
from execution.launcher.tree import Tree


@pytest.fixture
def folder(tmp_path):
    """The checkpoint folder of an attempt."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def save(folder, *names, age_seconds=10):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        at = path.stat().st_mtime - age_seconds
        os.utime(path, (at, at))


def saved(folder):
    entries = Tree(Node(folder.parent, 0, 1)).entries(ended=False)
    return {entry.path.removeprefix("checkpoints/") for entry in entries}


def test_all_files_in_the_folder_of_a_checkpoint_are_sent(folder):
    names = {
        "100/_CHECKPOINT_METADATA",
        "100/default/params/.zarray",
        "100/default/.zattrs",
        "100/array.tmp/0.0",
        "100/.cache/state.partial",
        "100/tmp_state",
    }
    save(folder, *names)

    assert saved(folder) == names


def test_what_is_still_written_beside_the_checkpoints_is_not_sent(folder):
    save(folder, ".step-1.bin.tmp", "step-1.part", "tmp_step-1/a", ".hidden/a", "step-1.bin~")
    save(folder, "200.orbax-checkpoint-tmp/default/.zarray", "step-0.bin", ".metadata")

    assert saved(folder) == {"step-0.bin", ".metadata"}


def test_file_in_a_folder_that_has_just_changed_is_not_sent(folder):
    save(folder, "100/.zarray", age_seconds=0)

    assert saved(folder) == set()


@given(st.text(max_size=8) | st.from_regex(layouts._TEMPORARY, fullmatch=True))
def test_nodes_and_workers_agree_on_what_is_temporary(name):
    assert tree.is_temporary(name) == layouts.is_temporary(name)


# --- too many files --------------------------------------------------------------------------


@pytest.fixture
def four_files(monkeypatch):
    """More are too many."""
    monkeypatch.setattr(tree, "MAX_ENTRIES", 4)


def date(folder, name, age_seconds):
    at = time.time() - age_seconds
    os.utime(folder / name, (at, at))


def test_newest_checkpoints_are_sent_whole_and_the_others_not_at_all(folder, four_files):
    save(folder, "1/a", "1/b", "2/a", "2/b", "2/c", "3/a")
    for age_seconds, name in ((300, "1"), (200, "2"), (100, "3")):
        date(folder, name, age_seconds)
    found = Tree(Node(folder.parent, 0, 1))

    entries = found.entries(ended=False)

    assert [entry.path for entry in entries] == [
        f"checkpoints/{name}" for name in ("2/a", "2/b", "2/c", "3/a")
    ]
    assert found.left_out == ["1"]


def test_nothing_is_left_out_of_as_many_files_as_may_be(folder, four_files):
    save(folder, "1/a", "1/b", "2/a", "x.bin")

    assert len(saved(folder)) == 4


def test_folder_that_alone_has_too_many_files_keeps_nothing_else_back(folder, four_files):
    save(folder, "all/1", "all/2", "all/3", "all/4", "all/5", "step-1.bin")
    date(folder, "all", 0)

    assert saved(folder) == {"step-1.bin"}


def test_links_within_the_checkpoint_folder_are_no_files_of_their_own(folder, tmp_path):
    save(folder, "step-1/a", "step-2.bin")
    (tmp_path / "elsewhere.bin").write_bytes(b"x")
    os.utime(tmp_path / "elsewhere.bin", (1, 1))
    (folder / "latest").symlink_to("step-1")
    (folder / "best.bin").symlink_to("step-2.bin")
    (folder / "step-1" / "b").symlink_to(folder / "step-2.bin")
    (folder / "base.bin").symlink_to(tmp_path / "elsewhere.bin")

    assert saved(folder) == {"step-1/a", "step-2.bin", "base.bin"}
