"""Progress bars that move: text redrawn in place, which ends with a newline much later.

Log lines never change, so that a bar's present state becomes a line every few seconds. Of nested
bars, the inner ones are drawn on lines of their own, and the cursor goes back up: these lines are
states too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
_UP: Final = re.compile(rb"\x1b\[\d*[AF]")  # moves the cursor up


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


# --- nested bars -----------------------------------------------------------------------------


def without_states(
    raw: Sequence[bytes],
    note: BarNote | None,
    *,
    now: float,
    complete: bool,
    encoding: str = DEFAULT_ENCODING,
) -> tuple[list[bytes], BarNote | None]:
    """``raw``, whole lines, with blank ones in place of states of nested bars, and the note.

    The last state is kept if one is due (``now`` is in Unix seconds), or once other text follows.
    Until then, it and what follows is left out, so that it is read again, unless the text is
    ``complete``.
    """
    lines = list(raw)
    last: int | None = None  # the number of the last state since other text
    for number, line in enumerate(raw):
        printed = _printed(line)
        if _is_state(line, raw[number + 1] if number + 1 < len(raw) else b""):
            lines[number], last = b"", number
            note = note or {"shown_at": now, "text": ""}  # most bars are over soon
        elif printed is not None:  # between states, which go on
            lines[number], last = printed, None
        elif line.strip():
            if last is not None and note is not None:
                lines[last] = _unless_shown(raw[last], note, encoding)
            last = note = None
    if last is None or note is None:
        return lines, note
    is_due = not 0 <= now - note["shown_at"] < SHOW_EVERY_SECONDS
    if not (is_due or complete):
        return lines[:last], note
    lines[last] = _unless_shown(raw[last], note, encoding)
    return lines, {"shown_at": now, "text": shown(raw[last], encoding)}


def _is_state(line: bytes, following: bytes) -> bool:
    """Whether the line is a state of an inner bar, or of the outer one with an inner one below."""
    if _UP.search(line):
        return _printed(line) is None
    is_redrawn = line.startswith(b"\r") and not _is_cleared(line)
    return is_redrawn and following.startswith(b"\r") and _UP.search(following) is not None


def _printed(line: bytes) -> bytes | None:
    """What was printed where a bar had moved the cursor up to, if the line is no state."""
    moves = list(_UP.finditer(line))
    after = line[moves[-1].end() :] if moves else b""
    is_text = after.strip() and (not after.startswith(b"\r") or _is_cleared(after))
    return after if is_text else None


def _is_cleared(line: bytes) -> bool:
    """Whether text follows after a bar was overwritten with spaces, as tqdm.write does."""
    states = REDRAWN.split(line)
    return bool(states[-1].strip()) and any(state.isspace() for state in states[:-1])


def _unless_shown(line: bytes, note: BarNote, encoding: str) -> bytes:
    return b"" if shown(line, encoding) == note["text"] else line
