"""Dates and times in filters, in the notation of ISO 8601: ``2026-11-01``, ``2026-11-28T10:00``,
``2026-11-28T10:00:30+08:00``. Without an offset they are in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# A date may have an offset too, as of XML Schema's dates: its day begins then.
_TIME: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2}(?P<fraction>\.\d{1,6})?)?)?"
    r"(?P<offset>Z|[+-]\d{2}:\d{2})?",
    re.ASCII | re.IGNORECASE,
)


def span(text: str) -> tuple[datetime, datetime] | None:
    """The day, minute, second or millisecond that ``text`` names: its start, and that of the next;
    None if it names none."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    minute, offset = match["minute"] or "00:00", match["offset"] or "Z"
    try:
        start = datetime.fromisoformat(
            f"{match['date']}T{minute}{match['second'] or ''}{offset.upper()}"
        ).astimezone(UTC)
        return start, start + _length(match)
    except (ValueError, OverflowError):  # 2026-02-30; year 1 east of Greenwich
        return None


def _length(match: re.Match[str]) -> timedelta:
    if match["minute"] is None:
        return timedelta(days=1)
    if match["second"] is None:
        return timedelta(minutes=1)
    return timedelta(milliseconds=1) if match["fraction"] else timedelta(seconds=1)
