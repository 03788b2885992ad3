"""Progress bars that move: text redrawn in place, which ends with a newline much later.

Log lines never change, so that a bar's present state becomes a line every few seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from execution.executor_state import BarNote
from execution.executors.log_entries import shown
from execution.executors.log_text import level_of, rank_of
from execution.executors.text_lines import REDRAWN
from logs.lines import Line
from runs.models.encoding import DEFAULT_ENCODING

SHOW_EVERY_SECONDS: Final = 5.0
MAX_SHOWN: Final = 1000  # characters


def bar_line(
    rest: bytes,
    note: BarNote | None,
    source: str,
    timestamp: datetime,
    *,
    now: float,
    quiet: bool,
    encoding: str = DEFAULT_ENCODING,
) -> tuple[Line | None, BarNote | None]:
    """A line with the present state of the bar in ``rest``, an unfinished line, and the note to
    keep; no line if there is no bar, or if none is due (``now`` is in Unix seconds).

    A state that may be half written is not shown, unless nothing is being written (``quiet``).
    """
    redraws = list(REDRAWN.finditer(rest))
    # The states before the last of a long bar were skipped: only the note tells that it is one.
    if not redraws and (note is None or not quiet):
        return None, note
    if note is None:  # most bars are over soon
        return None, {"shown_at": now, "text": ""}
    if 0 <= now - note["shown_at"] < SHOW_EVERY_SECONDS:
        return None, note
    text = shown(rest if quiet else rest[: redraws[-1].start()], encoding)[:MAX_SHOWN]
    if not text or note["text"] == text:
        return None, note
    line = Line.new(text, level_of(text), source, timestamp, rank_of(text))
    return line, {"shown_at": now, "text": text}


def without_shown(lines: list[Line], note: BarNote | None) -> list[Line]:
    """``lines``, the next ones of the file, without the bar's last state if it was shown."""
    if note is not None and lines and lines[0].message == note["text"]:
        return lines[1:]
    return lines
