"""Reads the text files that a process appends to, line by line, and decodes what it reads.

Reading begins at an offset that the caller keeps, and committing the new offset together with the
lines makes sure that nothing is ingested twice or skipped.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from core.files import open_file
from execution.launcher.files import file_time
from logs.appending import MAX_MESSAGE_LENGTH
from runs.models.encoding import DEFAULT_ENCODING

CHUNK_BYTES = 256 * 1024  # read at once, so that a transaction stays small
# A line without a newline is split here, once the process pauses.
LINE_LIMIT_BYTES = 4 * MAX_MESSAGE_LENGTH
MAX_LINE_BYTES = 16 * 1024 * 1024  # a longer line is split
BAR_LIMIT_BYTES = 64 * 1024  # an unfinished line is read again; a longer bar only in its last state
MARK_BYTES: Final = 64  # before an offset, by which a file that was written anew is noticed
QUIET_SECONDS = 1.0  # without new output: what was printed at once is complete

# Errors of reading that do not pass by themselves: of a folder, a pipe, a link to itself, or what
# only another user may read.
LASTING: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EINVAL}
    | {errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG}
)

# A progress bar goes back to the start of its line and is drawn again.
REDRAWN: Final = re.compile(rb"[\r\x08]+")


@dataclass(frozen=True)
class Reading:
    """Whole lines of a file from ``start`` to ``offset``, whether the file's end was reached, and
    the unfinished line after them. ``mark``: of the bytes before ``offset``. ``is_replaced``: the
    file is not the one that was read before, so that it was read from its start again. ``problem``:
    why it cannot be read at all."""

    lines: list[bytes]
    offset: int
    at_end: bool
    start: int = 0
    rest: bytes = b""
    is_replaced: bool = False
    problem: str = ""
    mark: str = ""

    def offset_of(self, line: int) -> int:
        """Where line number ``line``, from 0, begins; the offset after the last line, for it."""
        if line == len(self.lines):
            return self.offset
        return self.start + sum(len(text) + 1 for text in self.lines[:line])


def read_whole_lines(
    path: Path,
    offset: int,
    *,
    ended: bool,
    quiet: bool = True,
    owner: int | None = None,
    mark: str = "",
) -> Reading:
    """The next whole lines after ``offset``, of a file that belongs to ``owner`` (see open_file).

    A file that is shorter than ``offset``, or has other bytes before it than those of ``mark``, if
    there is one, was written anew. (Its inode would not do: of a file that is copied from another
    host, or moved into its place with all that it had, it changes each time.)

    A last line without a newline is left for later, unless the process has ``ended``, or the line
    has grown past LINE_LIMIT_BYTES and nothing is being written (``quiet``). It is never left once
    it is longer than MAX_LINE_BYTES. The line of a progress bar does not grow: past BAR_LIMIT_BYTES
    its earlier states are skipped. A missing file has no lines.
    """
    try:
        with open_file(path, owner) as file:
            is_replaced = os.fstat(file.fileno()).st_size < offset
            before = _before(file, offset)
            is_replaced = is_replaced or mark not in ("", _mark(before))
            if is_replaced:
                offset, before = 0, b""
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
            at_end = len(chunk) < CHUNK_BYTES
            # Read on if most of it is one line.
            while (
                not at_end
                and len(chunk) - chunk.rfind(b"\n") > CHUNK_BYTES // 2
                and len(chunk) < MAX_LINE_BYTES
            ):
                more = file.read(CHUNK_BYTES)
                at_end = len(more) < CHUNK_BYTES
                chunk += more
    except FileNotFoundError:
        return Reading([], offset, at_end=True, start=offset, mark=mark)
    except OSError as error:
        if error.errno not in LASTING:
            raise
        problem = error.strerror or str(error)
        return Reading([], offset, at_end=True, start=offset, problem=problem, mark=mark)
    *lines, rest = chunk.split(b"\n")
    end = offset + len(chunk)
    if len(rest) > BAR_LIMIT_BYTES:
        rest = current_state(rest)
    is_long = len(rest) >= MAX_LINE_BYTES or (quiet and len(rest) > LINE_LIMIT_BYTES)
    # What remains at the end of a chunk may go on in the next.
    if rest and ((ended and at_end) or (is_long and (at_end or not lines))):
        lines, rest = [*lines, rest], b""
    new_mark = _mark(before + chunk[: end - len(rest) - offset])
    return Reading(lines, end - len(rest), at_end, offset, rest, is_replaced, mark=new_mark)


def _before(file: IO[bytes], offset: int) -> bytes:
    start = max(0, offset - MARK_BYTES)
    file.seek(start)
    return file.read(offset - start)


def _mark(before: bytes) -> str:
    """Of the last of these bytes."""
    return hashlib.sha256(before[-MARK_BYTES:]).hexdigest()[:16]


def current_state(line: bytes) -> bytes:
    """The part of an unfinished line that the rest of it may still need: from its last state that
    shows anything, if it is a progress bar."""
    states = list(REDRAWN.finditer(line))
    end = len(line)
    for redraw in reversed(states):
        if line[redraw.end() : end].strip():
            return line[redraw.end() :]
        end = redraw.start()
    return line


def modified(path: Path) -> float | None:
    """When the file was last written to, in Unix seconds; None if there is no file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def is_quiet(path: Path) -> bool:
    """Whether nothing has been written to the file for QUIET_SECONDS."""
    at = modified(path)
    return at is None or abs(file_time(path.parent) - at) > QUIET_SECONDS


def last_written(path: Path) -> datetime:
    """When the file was last written to: the best estimate of when its last lines were printed,
    even if a worker reads them hours later. Now if there is no file."""
    now = datetime.now(UTC)
    at = modified(path)
    return now if at is None else min(datetime.fromtimestamp(at, UTC), now)


# --- decoding --------------------------------------------------------------------------------

# Chinese, Japanese and other sequences of three or four bytes, which other encodings rarely form.
_UTF8_SEQUENCES: Final = re.compile(rb"[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_BYTES: Final = re.compile(rb"[\x80-\xff]")
# Letters of Western European languages, next to ASCII letters.
_LATIN1_WORD: Final = re.compile(r"[A-Za-z][\u00c0-\u00ff]|[\u00c0-\u00ff][A-Za-z]")
_LATIN1_LETTERS: Final = re.compile(r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a]")
_COMMON_SHARE: Final = 0.8


def decode(raw: bytes, encoding: str = DEFAULT_ENCODING) -> str:
    """``raw`` as text: in ``encoding``, else in UTF-8, else, unless an encoding was chosen, in one
    of those that yield plausible text. What cannot be decoded becomes U+FFFD."""
    for name in (encoding, "utf-8"):
        try:
            return raw.decode(name)
        except UnicodeDecodeError:
            continue
    if encoding.replace("_", "-").lower() not in {"utf-8", "utf8"}:
        return raw.decode(encoding, errors="replace")
    if not _is_mostly_utf8(raw):
        for guess in (_gb18030(raw), _latin1(raw)):
            if guess is not None:
                return guess
    return raw.decode("utf-8", errors="replace")


def in_utf8(raw: bytes, encoding: str) -> bytes:
    """``raw`` if it is UTF-8, as JSON should be; else decoded like text, and encoded in UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return decode(raw, encoding).encode(errors="replace")
    return raw


def _is_mostly_utf8(raw: bytes) -> bool:
    """Whether ``raw`` is UTF-8 with a damaged byte, or cut within a character."""
    inside = sum(len(sequence) for sequence in _UTF8_SEQUENCES.findall(raw))
    return inside * 2 > len(_HIGH_BYTES.findall(raw))


def _gb18030(raw: bytes) -> str | None:
    """``raw`` in GB18030, if it is mostly common Chinese: GB 2312 has the common characters."""
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    special = [character for character in text if not character.isascii()]
    common = len("".join(special).encode("gb2312", errors="ignore")) // 2
    return text if common >= _COMMON_SHARE * len(special) else None


def _latin1(raw: bytes) -> str | None:
    """``raw`` in Latin-1, if its special characters are letters within words."""
    text = raw.decode("latin-1")
    special = len(_HIGH_BYTES.findall(raw))
    letters = len(_LATIN1_LETTERS.findall(text))
    is_text = letters == special and special * 2 <= len(text) and not _CONTROL.search(text)
    return text if is_text and _LATIN1_WORD.search(text) else None
