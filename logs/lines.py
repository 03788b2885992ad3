"""A log line as it is reported, stored and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from core.messages import Message, Text, dumps, in_english, loads
from logs.models import LogLevel

SEPARATOR: Final = "\x1f"  # of the text of a message and its data


class Line(NamedTuple):
    """``seq``: the line's number in the run's log, from 1; 0 until it is appended."""

    seq: int
    timestamp: datetime
    level: str
    source: str
    rank: int | None
    message: str

    @classmethod
    def new(
        cls,
        message: Text,
        level: str = LogLevel.INFO,
        source: str = "",
        timestamp: datetime | None = None,
        rank: int | None = None,
    ) -> Line:
        """A line to append; ``timestamp`` defaults to now."""
        text = _plain(message) if isinstance(message, str) else _with_data(message)
        return cls(0, timestamp or datetime.now(UTC), level, source, rank, text)

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> Line:
        """A stored line, in the language of its reader if it is a message."""
        line = cls._make(row)
        if SEPARATOR not in line.message:  # nearly always
            return line
        return line._replace(message=_in_readers_language(line.message))


def _plain(text: str) -> str:
    """What is stored of a program's text. One that looks like a message is put into one."""
    if SEPARATOR not in text or isinstance(_message_of(text), str):  # nearly always
        return text
    return text + SEPARATOR + dumps(Message("%(text)s", text=text))


def _with_data(message: Message) -> str:
    """What is stored of a message: its English text, which searches find, and its data."""
    return in_english(message) + SEPARATOR + dumps(message)


def _in_readers_language(stored: str) -> str:
    message = _message_of(stored)
    return stored if isinstance(message, str) else str(message)


def _message_of(stored: str) -> Text:
    return loads(stored.rpartition(SEPARATOR)[2])
