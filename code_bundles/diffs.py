"""What differs between two bundles, as a unified diff."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple
from zipfile import ZipFile

from code_bundles import storing
from code_bundles.manifest import LINK, Entry, entries_of
from runs.models import CodeBundle

MAX_FILE_BYTES: Final = 256 * 1024  # larger files are only named
MAX_LINES: Final = 5000  # of a file, for the same reason: difflib takes quadratic time
MAX_DIFF_BYTES: Final = 1024**2  # of the text of all; then files are only named
MAX_SECONDS: Final = 5.0
CONTEXT_LINES: Final = 3


class FileDiff(NamedTuple):
    """A file that differs. ``lines``: of a unified diff, without line ends; None if it is only
    named, for the reason in ``note``: binary, large, mode."""

    path: str
    status: str  # A(dded), D(eleted), M(odified)
    lines: list[str] | None
    note: str = ""


def differences(before: CodeBundle, after: CodeBundle) -> Iterator[FileDiff]:
    """Each file that differs, by path. Raises FileNotFoundError, BadBundle."""
    old = {entry.path: entry for entry in entries_of(before.files)}
    new = {entry.path: entry for entry in entries_of(after.files)}
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    if not paths:
        return
    deadline, left = time.monotonic() + MAX_SECONDS, MAX_DIFF_BYTES
    with ExitStack() as stack:
        archives = [stack.enter_context(storing.opened(it)) for it in (before, after)]
        for path in paths:
            sides = (old.get(path), new.get(path))
            if left <= 0 or time.monotonic() > deadline:
                yield FileDiff(path, _status(*sides), None, "not compared: too much differs")
                continue
            found = _compare(path, sides, archives)
            left -= sum(len(line.encode()) + 1 for line in found.lines or ())
            yield found


def _status(old: Entry | None, new: Entry | None) -> str:
    return "A" if old is None else "D" if new is None else "M"


def _compare(
    path: str, sides: tuple[Entry | None, Entry | None], archives: list[ZipFile]
) -> FileDiff:
    status = _status(*sides)
    if any(side is not None and side.size > MAX_FILE_BYTES for side in sides):
        return FileDiff(path, status, None, "large file")
    texts = [_lines(side, archive) for side, archive in zip(sides, archives, strict=True)]
    old, new = texts
    if old is None or new is None:
        return FileDiff(path, status, None, "binary file")
    if len(old) > MAX_LINES or len(new) > MAX_LINES:
        return FileDiff(path, status, None, "large file")
    kinds = [side.kind for side in sides if side is not None]
    note = "" if len(set(kinds)) == 1 else f"mode {kinds[0]} → {kinds[1]}"
    before = f"a/{path}" if sides[0] else "/dev/null"
    after = f"b/{path}" if sides[1] else "/dev/null"
    lines = difflib.unified_diff(old, new, before, after, n=CONTEXT_LINES, lineterm="")
    return FileDiff(path, status, list(lines), note)


def _lines(side: Entry | None, archive: ZipFile) -> list[str] | None:
    """None if it is no text."""
    if side is None:
        return []
    content = archive.read(side.path)
    if b"\0" in content:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    if lines[-1] == "" and side.kind != LINK:
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


def as_text(found: Iterator[FileDiff]) -> Iterator[str]:
    """Lines, each with its end, that patch(1) and viewers of diffs read."""
    for file in found:
        if file.lines is None or file.note:
            yield f"# {file.status} {file.path} ({file.note})\n"
        for line in file.lines or ():
            yield f"{line}\n"
