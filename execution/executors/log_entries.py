"""Makes log entries of the lines that a process has printed.

An entry is a line, or a Python traceback of any number of lines. Entries depend only on the text,
not on how it was cut into readings: a traceback that may go on is left for the next reading.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from execution.executors.log_text import level_of, plain, prefixes, rank_of
from execution.executors.text_lines import REDRAWN, decode
from logs.appending import MAX_MESSAGE_LENGTH
from logs.cutting import cut
from logs.lines import Line
from logs.models import LogLevel
from runs.models.encoding import DEFAULT_ENCODING

# Tracebacks that are printed together are over after this much text.
MAX_TRACEBACK_BYTES: Final = 64 * 1024
MAX_FOREIGN_LINES: Final = 50  # of other ranks, after which a rank's traceback is over
# What is kept of the end of one that is too long: the exception is there.
KEPT_END: Final = 8_000

# Python's, that of an exception group, and that of the library rich.
_HEADER: Final = re.compile(
    r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\):\s*$"
    r"|\u256d\S* Traceback \(most recent call last\) \S*\u256e\s*$"
)
# The traceback of an error while a bar is drawn begins on the bar's line.
_AFTER_BAR: Final = re.compile(
    r"(?P<bar>.*(?:%\||\dit/s|\ds/it|\?it/s).*?\]?)\s*"
    r"(?P<header>Traceback \(most recent call last\):)$"
)
_FRAME: Final = re.compile(r"[ \t\u2502\u2570]")
_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.<>]*(?:: .*|:)?$")
_CHAINED: Final = re.compile(
    r"(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$"
)
# A message goes on in lines that are indented, but not as a progress bar is.
_MORE_MESSAGE: Final = re.compile(r"(?:\t| {4})(?!\s*\d+%)")
_TORCH_PREFIX: Final = re.compile(r"\[rank\d+\]: $")


class _State(enum.Enum):
    """What a traceback was read up to."""

    FRAMES = enum.auto()
    EXCEPTION = enum.auto()
    BLANK = enum.auto()  # a blank line after the exception
    CHAINED = enum.auto()  # the words that announce the next traceback of a chain


@dataclass
class _Traceback:
    first: int  # the number of its first line
    lines: list[str]
    is_group: bool
    state: _State = _State.FRAMES
    foreign: int = 0  # lines of others since its last

    def take(self, prefix: str, text: str) -> bool:
        """Whether ``text``, printed after ``prefix``, belongs to the traceback."""
        state = self._next_state(prefix, text)
        if state is None:
            return False
        self.state = state
        self.foreign = 0
        self.lines.append(prefix + text)
        return True

    def _next_state(self, prefix: str, text: str) -> _State | None:
        match self.state:
            case _State.FRAMES:
                if _FRAME.match(text) or _HEADER.match(text):
                    return _State.FRAMES
                is_exception = not self.is_group and _EXCEPTION.match(text)
                return _State.EXCEPTION if is_exception else None
            case _State.EXCEPTION:
                if not text:
                    return _State.BLANK
                more = _MORE_MESSAGE.match(text) or _continues_message(prefix, text)
                return _State.EXCEPTION if more else None
            case _State.BLANK:
                return _State.CHAINED if _CHAINED.match(text) else None
            case _State.CHAINED:
                if _HEADER.match(text):
                    return _State.FRAMES
                return None if text else _State.CHAINED

    def message(self) -> str:
        text = "\n".join(self.lines).rstrip()
        return cut(text, MAX_MESSAGE_LENGTH, keep_end=KEPT_END)


def _continues_message(prefix: str, text: str) -> bool:
    """Whether a line after an exception belongs to its message, because its prefix is one that
    torch puts before the lines of tracebacks only."""
    return bool(_TORCH_PREFIX.search(prefix)) and not _HEADER.match(text)


@dataclass
class _Assembly:
    """Entries in the making. Those since the first traceback that is open are ``pending``, because
    they are read again if it is not over at the end of the reading."""

    source: str
    timestamp: datetime
    entries: list[Line] = field(default_factory=list)
    used: int = 0  # lines that ``entries`` are made of
    pending: list[tuple[int, Line]] = field(default_factory=list)
    open: dict[str, _Traceback] = field(default_factory=dict)  # by their lines' prefix
    size: int = 0  # bytes since the first that is open

    def add(self, number: int, text: str, size: int) -> None:
        after_bar = _AFTER_BAR.match(text)
        if after_bar is None:
            self._add(number, text, size)
        else:
            self._add(number, after_bar["bar"], 0)
            self._add(number, prefixes(text) + after_bar["header"], size)

    def _add(self, number: int, text: str, size: int) -> None:
        prefix = prefixes(text)
        key, body = prefix.strip(), text[len(prefix) :]
        current = self.open.get(key)
        if current is None or not current.take(prefix, body):
            if current is not None:
                self.close(key)
            if not self.open:
                self.flush(number)
            if _HEADER.match(body):
                self.open[key] = _Traceback(number, [text], "Group" in body)
            elif text:
                line = Line.new(text, level_of(text), self.source, self.timestamp, rank_of(text))
                self.pending.append((number, line))
        self.size += size
        for other in [other for other in self.open if other != key]:
            self.open[other].foreign += 1
            if self.open[other].foreign > MAX_FOREIGN_LINES:
                self.close(other)
        if self.size > MAX_TRACEBACK_BYTES:
            self.close_all()
        if not self.open:
            self.flush(number + 1)

    def close(self, key: str) -> None:
        traceback = self.open.pop(key)
        line = Line.new(
            traceback.message(), LogLevel.ERROR, self.source, self.timestamp, rank_of(key)
        )
        self.pending.append((traceback.first, line))

    def close_all(self) -> None:
        for key in list(self.open):
            self.close(key)

    def flush(self, used: int) -> None:
        """Accept what is pending; ``used``: the number of the next line."""
        self.entries += [line for _number, line in sorted(self.pending, key=lambda item: item[0])]
        self.pending.clear()
        self.used, self.size = used, 0


def log_entries(
    raw: Sequence[bytes],
    source: str,
    timestamp: datetime,
    *,
    encoding: str = DEFAULT_ENCODING,
    complete: bool = True,
) -> tuple[list[Line], int]:
    """The entries of ``raw``, without blank lines, and how many of its lines they are made of:
    fewer than all if a traceback at the end may go on, unless the text is ``complete``."""
    assembly = _Assembly(source, timestamp)
    for number, line in enumerate(raw):
        assembly.add(number, shown(line, encoding), len(line) + 1)
    if complete:
        assembly.close_all()
        assembly.flush(len(raw))
    return assembly.entries, assembly.used


def shown(raw: bytes, encoding: str = DEFAULT_ENCODING) -> str:
    """What a terminal shows of a line in the end: the last state of a progress bar that shows
    anything, without escape sequences."""
    for state in reversed(REDRAWN.split(raw)):
        text = plain(decode(state, encoding)).rstrip()
        if text:
            return text
    return ""
