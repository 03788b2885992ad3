"""Reads lines of metrics.jsonl into points.

A line is an object: a step, optionally a time and the planned steps, and any further numbers, the
metrics. What cannot be taken is reported, once for each kind, and the rest is taken.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from core.numbers import MAX_BIGINT, MIN_BIGINT
from core.text import MAX_KEY_LENGTH, truncate
from core.times import is_time, unix_milliseconds
from logs.models import LogLevel
from metrics.points import Point, is_key
from metrics.recording import GPU_UTILIZATION
from metrics.values import flat, number, whole_number

# The names of a step, of a time in Unix seconds and of the planned steps; the first one that a line
# has counts. LLaMA-Factory: current_steps. Weights & Biases: _step, _timestamp.
STEP_NAMES: Final = ("step", "global_step", "current_steps", "_step")
TIME_NAMES: Final = ("timestamp", "_timestamp")
TOTAL_NAMES: Final = ("total_steps", "max_steps")
# Not a metric: declares a checkpoint.
CHECKPOINT_NAME: Final = "checkpoint"

_SHOWN: Final = 200  # characters of a line or key in a problem's text


@dataclass(frozen=True, slots=True)
class Problem:
    kind: str  # stored in databases: do not rename
    text: str
    level: LogLevel = LogLevel.WARNING


@dataclass
class MetricReport:
    """The content of some lines of metrics.jsonl."""

    points: list[Point] = field(default_factory=list)
    step: int | None = None  # of the last line
    total_steps: int | None = None
    problems: list[Problem] = field(default_factory=list)


class _Refused(Exception):
    """A value or a whole line cannot be taken: the kind of the problem, and what to say."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text


def metric_report(
    raw: list[bytes], *, first_line: int = 1, said: Collection[str] = ()
) -> MetricReport:
    """Parse the lines. ``first_line``: the number of the first one in its file. ``said``: kinds of
    problems that were reported before and are not reported again."""
    return _Reader(set(said)).read(raw, first_line)


class _Reader:
    def __init__(self, said: set[str]) -> None:
        self.said = said
        self.report = MetricReport()
        self.now_ms = unix_milliseconds(time.time())
        # (key, step) → the time that the last line with it gave, that of its point, its value
        self.latest: dict[tuple[str, int], tuple[int, int, float]] = {}

    def read(self, raw: list[bytes], first_line: int) -> MetricReport:
        for at, line in enumerate(raw, first_line):
            if not line.strip():
                continue
            try:
                self._read_line(line, at)
            except _Refused as refused:
                shown = truncate(line[: 4 * _SHOWN].decode("utf-8", errors="replace"), _SHOWN)
                self._say(refused, at, shown)
        return self.report

    def _read_line(self, line: bytes, at: int) -> None:
        """Raises _Refused if the line as a whole cannot be taken."""
        row = _object(line)
        step_name = first_of(row, STEP_NAMES)
        step = _step(row, step_name)
        time_name = first_of(row, TIME_NAMES)
        time_ms = self.now_ms if time_name is None else _time_ms(row[time_name])
        total_name = first_of(row, TOTAL_NAMES)
        reserved = {step_name, time_name, total_name}
        self._say_what_is_nested(row, at)
        for key, value in flat(row):
            if key in reserved or (key == CHECKPOINT_NAME and isinstance(value, str)):
                continue
            try:
                self._add(key, step, _metric(value), time_ms, at)
            except _Refused as refused:
                self._say(refused, at, truncate(key, _SHOWN))
        self.report.step = step
        if total_name is not None:
            self._take_total(total_name, row[total_name], at)

    def _take_total(self, name: str, value: Any, at: int) -> None:
        total = whole_number(value)
        if total is None or total > MAX_BIGINT:
            text = "the planned steps must be a positive 64-bit integer"
            self._say(_Refused("total", text), at, name)
        elif total > 0:  # libraries write -1 for a training without a limit
            self.report.total_steps = total

    def _add(self, key: str, step: int, value: float | None, time_ms: int, at: int) -> None:
        if value is None:
            return
        if not is_key(key):
            raise _Refused("key", f"a key must have 1 to {MAX_KEY_LENGTH} characters")
        if key == GPU_UTILIZATION:
            value = self._share(value, at)
        given = time_ms
        earlier = self.latest.get((key, step))
        if earlier is not None:
            earlier_given, earlier_ms, earlier_value = earlier
            is_repeated = (given, value) == (earlier_given, earlier_value)
            if is_repeated:
                return
            # Of two values with the same time, the later line's is the latest one.
            if given >= earlier_given:
                time_ms = max(given, earlier_ms + 1)
        self.latest[key, step] = (given, time_ms, value)
        self.report.points.append(Point(key, step, value, time_ms))

    def _share(self, value: float, at: int) -> float:
        """A GPU utilization from 0 to 1. Once a script has reported percent, it is percent."""
        is_percent = "gpu_percent" in self.said
        if not is_percent and 1 < value <= 100:
            problem = _Refused("gpu_percent", "taken as percent: it should be from 0 to 1")
            self._say(problem, at, f"{GPU_UTILIZATION} = {value:g}")
            is_percent = True
        share = value / 100 if is_percent else value
        if math.isfinite(share) and not 0 <= share <= 1:
            raise _Refused("gpu_range", "it should be from 0 to 1")
        return share

    def _say_what_is_nested(self, row: dict[str, Any], at: int) -> None:
        """The names of its metrics are not those that the script wrote."""
        for key, value in row.items():
            if isinstance(value, dict) and value:
                name = truncate(key, _SHOWN)
                notice = _Refused("nested", f"its numbers are the metrics {name}.…")
                self._say(notice, at, name, LogLevel.INFO)

    def _say(
        self,
        refused: _Refused,
        at: int,
        subject: str,
        level: LogLevel = LogLevel.WARNING,
    ) -> None:
        if refused.kind in self.said:
            return
        self.said.add(refused.kind)
        text = f"metrics.jsonl, line {at}: {subject}: {refused.text}"
        self.report.problems.append(Problem(refused.kind, text, level))


def _object(line: bytes) -> dict[str, Any]:
    """The line's object. Raises _Refused."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Refused("json", f"not valid JSON ({error})") from None
    if not isinstance(row, dict):
        raise _Refused("object", "not a JSON object")
    return row


def first_of(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _step(row: dict[str, Any], name: str | None) -> int:
    if name is None:
        raise _Refused("no_step", f"no step (one of {', '.join(STEP_NAMES)})")
    step = whole_number(row[name])
    if step is None or not MIN_BIGINT <= step <= MAX_BIGINT:
        raise _Refused("step", "the step must be a 64-bit integer")
    return step


def _time_ms(value: Any) -> int:
    seconds = number(value)
    if seconds is None or not math.isfinite(seconds) or not is_time(seconds * 1000):
        raise _Refused(
            "timestamp", "the timestamp must be in Unix seconds, of the years 1970 to 9999"
        )
    return unix_milliseconds(seconds)


def _metric(value: Any) -> float | None:
    """A metric's value; None for null and {}, which are no value. Raises _Refused."""
    if value is None or value == {}:
        return None
    found = number(value)
    if found is not None:
        return found
    if isinstance(value, int):
        raise _Refused("number", "the number is too large")
    if isinstance(value, str):
        raise _Refused("text", "text is not a metric")
    if isinstance(value, list):
        raise _Refused("list", "a list is not a metric")
    raise _Refused("depth", "nested too deeply")
