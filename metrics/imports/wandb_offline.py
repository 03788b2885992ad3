"""Offline runs of Weights & Biases: the file run-….wandb in a folder offline-run-….

The file is a log of LevelDB's format with other checksums; each record is a protobuf message, of
which only the fields that are read are described here. The wandb package is not needed: it writes
these files, but has no reader of them.

https://github.com/google/leveldb/blob/main/doc/log_format.md,
https://github.com/wandb/wandb/blob/main/wandb/proto/wandb_internal.proto
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from core.numbers import MAX_BIGINT
from core.text import readable
from core.times import is_time
from metrics.imports.columns import Columns
from metrics.imports.folders import UnreadableFolder, walk
from metrics.imports.past_runs import BadSource, PastRun, Progress, SourceFile, bounded
from metrics.imports.wandb_rows import add_row
from metrics.values import number
from runs.status import RunStatus

SUFFIX: Final = ".wandb"
MAGIC: Final = b":W&B\xe1\xbe"
BLOCK_BYTES: Final = 32 * 1024
_FILE_HEADER_BYTES: Final = 7
_HEADER: Final = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Message → (field, number, type or message, whether it is repeated).
_FIELDS: Final[dict[str, tuple[tuple[str, int, str, bool], ...]]] = {
    "Record": (
        ("history", 2, "History", False),
        ("config", 5, "Config", False),
        ("run", 17, "Run", False),
        ("exit", 18, "Exit", False),
    ),
    "History": (("item", 1, "Item", True), ("step", 2, "Step", False)),
    "Step": (("num", 1, "int64", False),),
    "Item": (
        ("key", 1, "string", False),
        ("nested_key", 2, "string", True),
        ("value_json", 16, "string", False),
    ),
    "Config": (("update", 1, "Item", True), ("remove", 2, "Item", True)),
    "Time": (("seconds", 1, "int64", False), ("nanos", 2, "int32", False)),
    "Run": (
        ("run_id", 1, "string", False),
        ("project", 3, "string", False),
        ("config", 4, "Config", False),
        ("display_name", 8, "string", False),
        ("notes", 9, "string", False),
        ("tags", 10, "string", True),
        ("start_time", 17, "Time", False),
    ),
    "Exit": (("exit_code", 1, "int32", False),),
}


@cache
def _record_class() -> Any:
    """The class of the message Record."""
    file = descriptor_pb2.FileDescriptorProto(
        name="trainhub/wandb.proto", package="trainhub.wandb", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message_name, fields in _FIELDS.items():
        message = file.message_type.add(name=message_name)
        for name, place, kind, is_repeated in fields:
            label = kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL
            item = message.field.add(name=name, number=place, label=label)
            if kind in _FIELDS:
                item.type, item.type_name = kinds.TYPE_MESSAGE, f".trainhub.wandb.{kind}"
            else:
                item.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("trainhub.wandb.Record"))


def records_in(path: Path, progress: Progress) -> Iterator[bytes]:
    """The whole records of the log, up to where it is cut off or damaged. Raises BadSource."""
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        text = _("%(path)s is not a file of an offline run.")
        raise BadSource(text % {"path": readable(path)})
    place, parts = _FILE_HEADER_BYTES, b""
    while True:
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < _HEADER.size:  # filled with zeros
            place += left
        if place + _HEADER.size > len(content):
            break
        checksum, length, kind = _HEADER.unpack_from(content, place)
        end = place + _HEADER.size + length
        data = content[place + _HEADER.size : end]
        if end > len(content) or zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            break
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield parts
        progress((end - place) / len(content))
        place = end


@dataclass
class _Log:
    """What the records tell."""

    written_at: float  # the time of the file, in Unix seconds
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    times: list[float] = field(default_factory=list)
    times_are_known: bool = True
    early: list[Any] = field(default_factory=list)  # rows before the run that they belong to
    exit_code: int | None = None

    def take(self, record: Any) -> None:
        if record.HasField("run"):
            self.run = record.run
            self._configure(record.run.config)
            for history in self.early:
                self._take_history(history)
            self.early.clear()
        if record.HasField("config"):
            self._configure(record.config)
        if record.HasField("history"):
            if self.run is None:
                self.early.append(record.history)
            else:
                self._take_history(record.history)
        if record.HasField("exit"):
            self.exit_code = record.exit.exit_code

    def _configure(self, config: Any) -> None:
        for item in config.update:
            self.config[_key(item)] = _value(item)
        for item in config.remove:
            self.config.pop(_key(item), None)

    def _take_history(self, history: Any) -> None:
        row = {_key(item): _value(item) for item in history.item}
        step = row.get("_step", history.step.num)
        if type(step) is not int or not 0 <= step <= MAX_BIGINT:
            step = history.step.num
        seconds = number(row.get("_timestamp"))
        if seconds is None or not is_time(seconds * 1000):
            seconds = self.times[-1] if self.times else self.started_at
        if not seconds:
            seconds, self.times_are_known = self.written_at, False
        self.times.append(seconds)
        add_row(self.columns, step, seconds, row)

    @property
    def started_at(self) -> float:
        """In Unix seconds; 0 if it is not known."""
        time = self.run.start_time
        seconds = time.seconds + time.nanos / 1e9
        return seconds if is_time(seconds * 1000) else 0.0


def _key(item: Any) -> str:
    return ".".join(item.nested_key) or item.key


def _value(item: Any) -> Any:
    try:
        return json.loads(item.value_json)
    except (ValueError, RecursionError):
        return None


class OfflineRun(SourceFile):
    def read(self, progress: Progress) -> list[PastRun]:
        """Raises BadSource, OSError."""
        log, message = _Log(bounded(self.path.stat().st_mtime)), _record_class()
        for record in records_in(self.path, progress):
            try:
                log.take(message.FromString(record))
            except DecodeError:
                log.columns.left_out += 1
        if log.run is None:
            text = _("%(path)s is cut off before the run begins.")
            raise BadSource(text % {"path": readable(self.path)})
        return [self._run(log)] if len(log.columns) else []

    def _run(self, log: _Log) -> PastRun:
        run = log.run
        return PastRun(
            identity=("wandb", run.run_id, repr(log.started_at)),
            name=run.display_name or run.run_id,
            source=readable(self.path),
            points=log.columns.points,
            started_at=log.started_at or min(log.times),
            finished_at=max(log.times),
            times_are_known=log.times_are_known,
            # Without an end it was killed, or is still running.
            status=RunStatus.COMPLETED if log.exit_code == 0 else RunStatus.FAILED,
            exit_code=log.exit_code,
            params={name: value for name, value in log.config.items() if name[:1] != "_"},
            tags=_tags(run),
            left_out=log.columns.left_out,
        )


def _tags(run: Any) -> Mapping[str, str]:
    tags = {
        "wandb.run_id": run.run_id,
        "wandb.project": run.project,
        "wandb.notes": run.notes,
        "wandb.tags": ", ".join(run.tags),
    }
    return {name: text for name, text in tags.items() if text}


def offline_runs(paths: Iterable[Path]) -> Iterator[OfflineRun | UnreadableFolder]:
    """The offline runs at or below ``paths``. Links, such as latest-run, are not followed."""
    unreadable: list[UnreadableFolder] = []
    for path in paths:
        if path.is_file():
            yield OfflineRun(path)
            continue
        for folder, names in walk(path, unreadable):
            yield from (OfflineRun(folder / name) for name in names if name.endswith(SUFFIX))
    yield from unreadable
