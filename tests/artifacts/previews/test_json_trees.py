"""JSON as a tree."""

import json

import pytest

from artifacts.previews import Unreadable, preview_of
from artifacts.previews.json_trees import MAX_NODES, tree
from artifacts.previews.texts import Text
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


def count(node):
    return 1 + sum(map(count, node.children))


def test_objects_and_arrays_open_to_their_values():
    root = preview_of(
        uploaded("a.json", '{"lr": 3e-4, "layers": [{"name": "<b>"}], "x": null}')
    ).root

    lr, layers, nothing = root.children
    assert (lr.name, lr.value, lr.kind) == ("lr", "0.0003", "number")
    assert (layers.is_array, layers.size, layers.children[0].name) == (True, 1, "0")
    assert layers.children[0].children[0].value == '"<b>"'
    assert (nothing.value, nothing.kind) == ("null", "literal")


def test_numbers_that_json_lacks_are_shown():
    root = preview_of(uploaded("a.json", "[NaN, -Infinity, 1e999, 12345678901234567890]")).root

    assert [(leaf.value, leaf.kind) for leaf in root.children] == [
        ("NaN", "number"),
        ("-Infinity", "number"),
        ("Infinity", "number"),
        ("12345678901234567890", "number"),
    ]


def test_half_of_a_surrogate_pair_can_be_shown():
    root = preview_of(uploaded("a.json", '{"\\ud800": "\\udfff"}')).root

    [leaf] = root.children
    assert (leaf.name, leaf.value) == ("?", '"?"')


def test_large_trees_are_cut_and_say_how_much_is_left_out():
    root = tree(list(range(3 * MAX_NODES)))

    assert count(root) <= MAX_NODES + 1
    assert len(root.children) + root.left_out == 3 * MAX_NODES


def test_deep_trees_are_cut():
    content: list = []
    for _depth in range(500):
        content = [content]

    assert count(tree(content)) < 40


def test_a_file_too_large_to_parse_is_shown_as_text():
    preview = preview_of(uploaded("a.json", json.dumps(["x" * 1000] * 2000)))

    assert isinstance(preview, Text)
    assert preview.is_cut


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\x00", "9" * 5000])
def test_what_is_no_json_is_unreadable(content):
    with pytest.raises(Unreadable):
        preview_of(uploaded("a.json", content))
