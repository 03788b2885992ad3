"""Reads what a process writes: text into log lines, metrics.jsonl into points.

Whole lines are read from an offset; the new offset is committed together with the lines, so that
nothing is ingested twice or skipped.
"""

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.numbers import MAX_BIGINT, MIN_BIGINT
from core.times import unix_milliseconds
from logs.appending import MAX_MESSAGE_LENGTH
from logs.lines import Line
from logs.models import LogLevel
from metrics.points import Point, is_key

CHUNK_BYTES = 256 * 1024  # read at once, so that a transaction stays small
LINE_LIMIT_BYTES = 4 * MAX_MESSAGE_LENGTH  # a line without a newline is split here

_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_LEVEL_NAMES = {"WARN": "WARNING", "FATAL": "CRITICAL"}


@dataclass(frozen=True)
class Reading:
    """Whole lines of a file, the offset after them, and whether the file's end was reached."""

    lines: list[bytes]
    offset: int
    at_end: bool


def read_whole_lines(path: Path, offset: int, *, ended: bool) -> Reading:
    """The next whole lines after ``offset``.

    A last line without a newline is left for later, unless the process has ``ended`` or the line
    has grown past LINE_LIMIT_BYTES. A missing file has no lines.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
    except FileNotFoundError:
        return Reading([], offset, at_end=True)
    at_end = len(chunk) < CHUNK_BYTES
    *lines, rest = chunk.split(b"\n")
    if rest and ((ended and at_end) or len(rest) > LINE_LIMIT_BYTES):
        return Reading([*lines, rest], offset + len(chunk), at_end)
    return Reading(lines, offset + len(chunk) - len(rest), at_end)


def log_lines(raw: list[bytes], source: str, timestamp: datetime) -> list[Line]:
    """Log lines of ``raw``, without blank ones; a progress bar drawn with carriage returns is one
    line with its last state."""
    lines = []
    for item in raw:
        text = item.decode("utf-8", errors="replace").rstrip("\r")
        text = text.rpartition("\r")[2].rstrip()
        if text:
            lines.append(Line.new(text, level_of(text), source, timestamp))
    return lines


def last_written(path: Path) -> datetime:
    """When the file was last written to: the best estimate of when its last lines were printed,
    even if a worker reads them hours later. Now if there is no file."""
    try:
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.now(UTC)
    return min(modified, datetime.now(UTC))


def level_of(text: str) -> str:
    """The level that logging libraries print near the start of a line; INFO without one."""
    match = _LEVEL.search(text[:64])
    if match is None:
        return LogLevel.INFO
    return _LEVEL_NAMES.get(match[1], match[1])


@dataclass
class MetricReport:
    """The content of some lines of metrics.jsonl."""

    points: list[Point] = field(default_factory=list)
    step: int | None = None  # of the last line
    total_steps: int | None = None
    problems: list[str] = field(default_factory=list)


def metric_report(raw: list[bytes]) -> MetricReport:
    """Parse the lines; an invalid line is reported as a problem and skipped.

    A line is a flat object: ``step`` (integer), optionally ``timestamp`` (Unix seconds) and
    ``total_steps``, and any further numbers, the metrics.
    """
    report = MetricReport()
    for item in raw:
        if not item.strip():
            continue
        try:
            row = json.loads(item)
            step, timestamp_ms = _when(row)
            points = list(_points(row, step, timestamp_ms))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            text = item[:200].decode("utf-8", errors="replace")
            report.problems.append(f"metrics.jsonl: {error!r} in {text}")
            continue
        report.step = step
        total = row.get("total_steps")
        if type(total) is int and 0 < total <= MAX_BIGINT:
            report.total_steps = total
        report.points += points
    return report


def _when(row: dict[str, Any]) -> tuple[int, int]:
    """Step and time (ms) of a line. Raises ValueError, TypeError or KeyError for an invalid one."""
    step = row["step"]
    if type(step) is not int or not MIN_BIGINT <= step <= MAX_BIGINT:
        raise ValueError("step must be a 64-bit integer")
    timestamp = float(row.get("timestamp", time.time()))
    if not math.isfinite(timestamp) or abs(timestamp) > 1e12:
        raise ValueError("timestamp must be Unix seconds")
    return step, unix_milliseconds(timestamp)


def _points(row: dict[str, Any], step: int, timestamp_ms: int) -> Iterator[Point]:
    for key, value in row.items():
        if key in {"step", "timestamp", "total_steps"} or type(value) not in (int, float):
            continue
        if is_key(key):
            yield Point(key, step, float(value), timestamp_ms)
