"""Which files of a node its server is to have."""

import os

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
