"""The header of a safetensors file."""

import json
import struct

import pytest
from django.utils.translation import override

from artifacts.previews import Unreadable, preview_of
from artifacts.previews.safetensors import FORMAT_LIMIT, SHOWN_LIMIT, Tensor
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english():
    with override("en"):
        yield


def saved(header, data=b"", length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    prefix = struct.pack("<Q", len(content) if length is None else length)
    return uploaded("weights.safetensors", prefix + content + data)


def entry(first, end, dtype="F32", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, end]}


def test_tensors_are_listed_with_their_totals():
    header = {
        "__metadata__": {"format": "pt"},
        "wte": entry(0, 24, shape=(2, 3)),
        "bias": entry(24, 30, "BF16", (3,)),
    }

    preview = preview_of(saved(header, bytes(30)))

    assert preview.tensors == [
        Tensor("wte", "F32", [2, 3], 24),
        Tensor("bias", "BF16", [3], 6),
    ]
    assert (preview.parameters, preview.size_bytes) == (9, 30)
    assert (preview.dtypes, preview.metadata) == (["BF16", "F32"], {"format": "pt"})


def test_of_a_large_file_only_the_header_is_read(monkeypatch):
    artifact = saved({"w": entry(0, 10**6)}, bytes(10**6))
    bounds = []
    opened = type(artifact).open
    monkeypatch.setattr(
        type(artifact),
        "open",
        lambda self, first=0, end=None: bounds.append(end) or opened(self, first, end),
    )

    assert preview_of(artifact).count == 1
    assert max(bounds) < 200


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{}", 10**9),
        (b"{}", 2**64 - 1),
        (b"not json", None),
        (b"[1]", None),
        (b"{" * 5000, None),
        (b'{"w": 1}', None),
        ({"w": entry(0, 10**9)}, None),
        ({"w": entry(5, 1)}, None),
        ({"w": entry(0, 0, shape=[-1])}, None),
        ({"w": entry(0, 0, shape=[2**70])}, None),
        ({"w": entry(0, 0, shape=[1] * 33)}, None),
        ({"w": entry(0, 0, dtype="x" * 100)}, None),
        ({"w": {"dtype": "F32"}}, None),
        ({"__metadata__": {"a": 1}}, None),
        (b'{"a": "\xff"}', None),
    ],
)
def test_what_is_no_header_is_unreadable(header, length):
    with pytest.raises(Unreadable):
        preview_of(saved(header, b"12345678", length))


def test_a_length_beyond_the_format_is_refused_before_it_is_read(monkeypatch):
    artifact = saved(b"{}", length=FORMAT_LIMIT + 1)
    artifact.size_bytes = 10**12

    with pytest.raises(Unreadable, match="impossible"):
        preview_of(artifact)


def test_a_header_too_large_for_a_page_is_refused_before_it_is_read():
    artifact = saved(b"{}", length=SHOWN_LIMIT + 1)
    artifact.size_bytes = 10**12

    with pytest.raises(Unreadable, match="too large"):
        preview_of(artifact)


def test_a_file_of_a_few_bytes_is_unreadable():
    with pytest.raises(Unreadable):
        preview_of(uploaded("weights.safetensors", b"123"))
