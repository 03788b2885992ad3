"""Validation and renaming of file paths."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.paths import InvalidPath, checked_path, folders_of, renamed_path

# Biased toward components that are invalid or unsafe in paths.
odd_paths = st.lists(
    st.one_of(
        st.sampled_from(["", ".", "..", "/", "\\", "\x00", "\n", "a", "é", "检查点", "%2e", "~"]),
        st.text(max_size=8),
    ),
    max_size=8,
).map("/".join)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.pt",
        "checkpoints/epoch=1-step=200/x.ckpt",
        "模型/权重.bin",
        "..a/b..",
        "a b/c",
        "-",
    ],
)
def test_normalized_path_is_accepted_unchanged(path):
    assert checked_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "./a",
        "a/./b",
        "..",
        "../a",
        "a/../b",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "\ud800",
        "a" * 256,
        "名" * 86,
        "/".join(["a" * 99] * 6),
    ],
)
def test_invalid_path_is_rejected(path):
    with pytest.raises(InvalidPath):
        checked_path(path)


@given(odd_paths)
def test_accepted_path_stays_below_root(path):
    try:
        checked = checked_path(path)
    except InvalidPath:
        return

    assert str(PurePosixPath(checked)) == checked == path
    assert not PurePosixPath(checked).is_absolute()
    assert not {"..", ".", ""} & set(checked.split("/"))
    assert "\x00" not in checked
    assert len(checked) <= 500
    assert all(len(part.encode()) <= 255 for part in checked.split("/"))


def test_folders_are_listed_outermost_first():
    assert folders_of("a/b/c.pt") == ["a", "a/b"]
    assert folders_of("c.pt") == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("last.ckpt", "last@x1.ckpt"),
        ("a/b/last.ckpt", "a/b/last@x1.ckpt"),
        ("a/noending", "a/noending@x1"),
        ("a/.hidden", "a/.hidden@x1"),
        ("a" * 254, None),
    ],
)
def test_renamed_path(path, expected):
    assert renamed_path(path, "x1") == expected
