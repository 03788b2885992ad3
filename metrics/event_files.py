"""Reads TensorBoard's event files: their scalars, hyperparameters and times.

A file is a sequence of TFRecords, each with an Event message. A scalar is a plain number (PyTorch,
tensorboardX, TensorFlow 1) or a tensor without dimensions (TensorFlow 2, Keras, JAX); all else
(images, histograms, texts) is passed over.

https://www.tensorflow.org/tutorials/load_data/tfrecord,
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.proto import types_pb2 as types
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import masked_crc32c

from core.files import open_file
from core.times import is_time, unix_milliseconds
from metrics.points import GrowingPoints

MARK: Final = "tfevents"  # in the name of every event file, as TensorBoard itself looks for them
CHUNK_BYTES: Final = 256 * 1024  # read at once
# A larger record, such as a video, is passed over unread: scalars are small.
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024

_HEADER: Final = struct.Struct("<QI")  # the length of the data, and its checksum
_FOOTER: Final = struct.Struct("<I")  # the checksum of the data

# Names of the plugin that shows a value: scalars may also have none.
_SCALARS: Final = ("", "scalars")
_HPARAMS: Final = "hparams"
# Hugging Face's Trainer logs its arguments as a text.
_ARGUMENTS_TAG: Final = "args/text_summary"

# Data type → field of a tensor and how its content is encoded.
_ENCODINGS: Final[dict[int, tuple[str, str]]] = {
    types.DT_FLOAT: ("float_val", "<f4"),
    types.DT_DOUBLE: ("double_val", "<f8"),
    types.DT_HALF: ("half_val", "<f2"),
    types.DT_BFLOAT16: ("half_val", "bfloat16"),
    types.DT_INT8: ("int_val", "i1"),
    types.DT_UINT8: ("int_val", "u1"),
    types.DT_INT16: ("int_val", "<i2"),
    types.DT_UINT16: ("int_val", "<u2"),
    types.DT_INT32: ("int_val", "<i4"),
    types.DT_INT64: ("int64_val", "<i8"),
    types.DT_BOOL: ("bool_val", "?"),
}


@dataclass(frozen=True)
class Records:
    """Whole records of a file up to ``offset``, and whether only an unfinished one may follow.

    ``damage``: why the file cannot be read beyond ``offset``; empty if it can.
    """

    records: list[bytes]
    offset: int
    at_end: bool
    damage: str = ""


def read_records(path: Path, offset: int, owner: int | None = None) -> Records:
    """The next whole records after ``offset``; of a file that is shorter, those from its start: it
    was replaced. ``owner``: see open_file. Raises OSError.

    Their checksums are checked where they are decoded; here only those of their lengths.
    """
    with open_file(path, owner) as file:
        size = os.fstat(file.fileno()).st_size
        offset = offset if offset <= size else 0
        file.seek(offset)
        chunk = file.read(CHUNK_BYTES)
        records: list[bytes] = []
        place = 0
        while len(chunk) - place >= _HEADER.size:
            length, checksum = _HEADER.unpack_from(chunk, place)
            if masked_crc32c(chunk[place : place + 8]) != checksum:
                return Records(records, offset + place, at_end=True, damage="length")
            end = place + _HEADER.size + length + _FOOTER.size
            if offset + end > size:  # being written
                return Records(records, offset + place, at_end=True)
            if end > len(chunk):
                if place:
                    return Records(records, offset + place, at_end=False)
                if length > MAX_RECORD_BYTES:
                    return Records([], offset + end, at_end=offset + end == size)
                chunk += file.read(end - len(chunk))
            records.append(chunk[place + _HEADER.size : end])
            place = end
    return Records(records, offset + place, at_end=offset + len(chunk) >= size)


@dataclass
class EventLog(GrowingPoints):
    """What the event files of one folder hold, in the order of their names and records: a writer
    that starts again at a step replaces what all of them have from there on."""

    reads_params: bool = False  # hyperparameters, which only an import needs
    params: dict[str, Any] = field(default_factory=dict)
    # Unix seconds of the first and last event that has a valid time; None if there is none.
    first_at: float | None = None
    last_at: float | None = None
    times_are_known: bool = True  # whether all events had one
    damaged: int = 0  # records that cannot be read
    # What was reported again, and the first step from which on a writer has started again.
    replaced: GrowingPoints = field(default_factory=GrowingPoints)
    purged_from: int | None = None

    def take(self, record: bytes, *, prefix: str = "", now_ms: int) -> None:
        """Add the content of ``record``, its data and checksum. ``prefix``: put before the tags.
        ``now_ms``: for events without a valid time."""
        data = record[: -_FOOTER.size]
        try:
            event = Event.FromString(data)
        except DecodeError:
            self.damaged += 1
            return
        is_used = event.HasField("summary") or event.HasField("session_log")
        if is_used and _FOOTER.unpack(record[-_FOOTER.size :])[0] != masked_crc32c(data):
            self.damaged += 1
            return
        timestamp_ms = self._time_ms(event.wall_time, now_ms)
        if event.HasField("summary"):
            for value in event.summary.value:
                self._take_value(value, event.step, timestamp_ms, prefix)
        elif event.session_log.status == SessionLog.START:
            self._purge(event.step)

    def _time_ms(self, wall_time: float, now_ms: int) -> int:
        if not is_time(wall_time * 1000):
            self.times_are_known = False
            return now_ms
        self.first_at = wall_time if self.first_at is None else min(self.first_at, wall_time)
        self.last_at = wall_time if self.last_at is None else max(self.last_at, wall_time)
        return unix_milliseconds(wall_time)

    def _take_value(self, value: Any, step: int, timestamp_ms: int, prefix: str) -> None:
        plugin = value.metadata.plugin_data
        if plugin.plugin_name == _HPARAMS or value.tag == _ARGUMENTS_TAG:
            if self.reads_params:
                is_plugin = plugin.plugin_name == _HPARAMS
                found = _hparams(plugin.content) if is_plugin else _arguments(value.tensor)
                self.params.update(found)
        elif plugin.plugin_name in _SCALARS:
            number = value.simple_value if value.HasField("simple_value") else _scalar(value.tensor)
            if number is not None:
                self.append(prefix + value.tag, step, timestamp_ms, number)

    def _purge(self, step: int) -> None:
        """Forget the points from ``step`` on: a writer that starts again there reports them again
        (``purge_step``)."""
        self.purged_from = step if self.purged_from is None else min(self.purged_from, step)
        kept = []
        for number, at in enumerate(self.steps):
            if at < step:
                kept.append(number)
            else:
                place = (self.keys[number], at, self.timestamps_ms[number], self.values[number])
                self.replaced.append(*place)
        self.keep(kept)


def _scalar(tensor: Any) -> float | None:
    """The number in a tensor without dimensions; None if it is none."""
    encoding = _ENCODINGS.get(tensor.dtype)
    shape = tensor.tensor_shape
    if encoding is None or shape.dim or shape.unknown_rank:
        return None
    name, kind = encoding
    values = getattr(tensor, name)
    if values and name != "half_val":
        return float(values[0])
    # Protobuf has no 16 bits: the field may hold more than fit.
    raw = struct.pack("<H", values[0] & 0xFFFF) if values else tensor.tensor_content
    if kind == "bfloat16":  # the upper half of a float
        raw, kind = b"\x00\x00" + raw, "<f4"
    return float(np.frombuffer(raw, kind)[0]) if len(raw) == np.dtype(kind).itemsize else None


def _hparams(content: bytes) -> dict[str, Any]:
    try:
        session = HParamsPluginData.FromString(content).session_start_info
    except DecodeError:
        return {}
    return {name: _value(value) for name, value in session.hparams.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value" and value.number_value.is_integer():
        return int(value.number_value)
    return getattr(value, kind) if kind in ("number_value", "string_value", "bool_value") else None


def _arguments(tensor: Any) -> dict[str, Any]:
    try:
        arguments = json.loads(b"".join(tensor.string_val))
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def event_files_in(folder: Path) -> Iterator[Path]:
    """The event files directly in ``folder``, oldest first: their names begin with their times."""
    names = sorted(entry.name for entry in os.scandir(folder) if MARK in entry.name)
    return (folder / name for name in names if (folder / name).is_file())
