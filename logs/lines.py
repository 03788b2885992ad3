"""A log line as it is reported, stored and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from logs.models import LogLevel


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
        message: str,
        level: str = LogLevel.INFO,
        source: str = "",
        timestamp: datetime | None = None,
        rank: int | None = None,
    ) -> Line:
        """A line to append; ``timestamp`` defaults to now."""
        return cls(0, timestamp or datetime.now(UTC), level, source, rank, message)
