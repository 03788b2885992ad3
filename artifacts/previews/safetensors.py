"""The header of a safetensors file: names, types, shapes and sizes of its tensors.

Only the header is read, which begins the file: its length (8 bytes, little-endian) and JSON. See
https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
from django.utils.translation import gettext as _

from artifacts.models import Artifact
from artifacts.previews.contents import Unreadable, read_bytes
from core.messages import Message
from core.numbers import MAX_BIGINT
from core.text import truncate

SUFFIXES: Final = frozenset({".safetensors"})
LENGTH_BYTES: Final = 8
FORMAT_LIMIT: Final = 100_000_000  # bytes of a header, by the format
SHOWN_LIMIT: Final = 8 * 1024 * 1024  # more is 100,000 tensors: no page
MAX_TENSORS: Final = 2000
MAX_METADATA: Final = 100
MAX_TEXT: Final = 500

Whole = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]


class _Entry(msgspec.Struct):
    dtype: Annotated[str, msgspec.Meta(max_length=32)]
    shape: Annotated[list[Whole], msgspec.Meta(max_length=32)]
    data_offsets: tuple[Whole, Whole]


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    shape: list[int]
    size_bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    template: ClassVar[str] = "artifacts/previews/_safetensors.html"

    tensors: list[Tensor]  # the first MAX_TENSORS
    count: int
    parameters: int
    size_bytes: int
    dtypes: list[str]
    metadata: dict[str, str]


def read(artifact: Artifact) -> Header:
    start = read_bytes(artifact, 0, LENGTH_BYTES)
    if len(start) < LENGTH_BYTES:
        raise Unreadable(_("The file is too short for a safetensors file."))
    (length,) = struct.unpack("<Q", start)
    available = artifact.size_bytes - LENGTH_BYTES
    if length > min(available, FORMAT_LIMIT):
        raise Unreadable(_("Not a safetensors file: the length of its header is impossible."))
    if length > SHOWN_LIMIT:
        raise Unreadable(_("The header is too large to be shown here."))
    return parse(read_bytes(artifact, LENGTH_BYTES, LENGTH_BYTES + length), available - length)


def parse(header: bytes, data_bytes: int) -> Header:
    """``data_bytes``: how many follow the header. Raises Unreadable."""
    try:
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(raw.pop("__metadata__", b"{}"), type=dict[str, str])
        entries = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = Message("Not a safetensors file: %(why)s", why=str(error))
        raise Unreadable(why) from error
    tensors = [
        Tensor(truncate(name, MAX_TEXT), entry.dtype, entry.shape, _size(entry, data_bytes))
        for name, entry in entries.items()
    ]
    return Header(
        tensors=tensors[:MAX_TENSORS],
        count=len(tensors),
        parameters=sum(tensor.parameters for tensor in tensors),
        size_bytes=sum(tensor.size_bytes for tensor in tensors),
        dtypes=sorted({tensor.dtype for tensor in tensors}),
        metadata={
            truncate(key, MAX_TEXT): truncate(text, MAX_TEXT)
            for key, text in list(metadata.items())[:MAX_METADATA]
        },
    )


def _size(entry: _Entry, data_bytes: int) -> int:
    first, end = entry.data_offsets
    if not first <= end <= data_bytes:
        raise Unreadable(_("Not a safetensors file: a tensor is beyond its end."))
    return end - first
