"""What is in a bundle: its files, and the hash by which it is known.

The hash is of the files, not of the archive, so the same folder has the same hash whoever packs it:
the sha256 of one line a file, sorted by the path's bytes,

    <kind> SP <sha256 of the content, or of the target of a link> SP <path in UTF-8> NUL

where the kind is ``f``, ``x`` (executable) or ``l`` (a symbolic link). As in Git, folders are only
in paths, so empty ones are not kept, and neither are owners, times and other permissions.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from code_bundles.limits import MAX_DEPTH, MAX_FILES, MAX_PATH_BYTES, MAX_UNPACKED_BYTES
from core.exceptions import InvalidInput
from core.messages import Message

FILE: Final = "f"
EXECUTABLE: Final = "x"
LINK: Final = "l"
KINDS: Final = (FILE, EXECUTABLE, LINK)


class BadBundle(InvalidInput):
    """An archive that nobody should unpack."""

    code = "bad_bundle"


class Entry(NamedTuple):
    """A file of a bundle. ``sha256``: of its content; of a link, of its target."""

    path: str
    kind: str
    size: int  # bytes
    sha256: str


def entries_of(rows: Iterable[Any]) -> list[Entry]:
    """As CodeBundle.files has them."""
    return [Entry(*row) for row in rows]


def hash_of(entries: Iterable[Entry]) -> str:
    """The bundle's hash. ``entries``: in any order."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda it: it.path.encode()):
        digest.update(f"{entry.kind} {entry.sha256} {entry.path}\0".encode())
    return digest.hexdigest()


def check_path(path: str) -> None:
    """Raises BadBundle for what is no plain path below the bundle's folder on every system."""
    parts = path.split("/")
    wrong = any(part in {"", ".", ".."} for part in parts)
    if wrong or "\\" in path or not path.isprintable() or "\ufffd" in path:
        raise BadBundle(
            Message("The archive has a file with a bad name: %(path)s.", path=shown(path))
        )
    if any(part.casefold() == ".git" for part in parts):
        raise BadBundle(Message("The archive has files of Git itself: %(path)s.", path=shown(path)))
    if len(path.encode()) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise BadBundle(Message("The archive has too long a path: %(path)s.", path=shown(path)))


def check_target(path: str, target: str) -> None:
    """Raises BadBundle if the link ``path`` leads out of the bundle's folder."""
    inside = bool(target) and not target.startswith("/") and "\\" not in target
    depth = len(PurePosixPath(path).parent.parts)
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in {"", "."} else 1
        inside = inside and depth >= 0
    if not inside or not target.isprintable():
        raise BadBundle(
            Message(
                "The link %(path)s leads out of the folder: %(target)s.",
                path=shown(path),
                target=shown(target),
            )
        )


def check_all(entries: Iterable[Entry]) -> None:
    """Raises BadBundle for files that are in each other's way, and for too many or too large
    ones."""
    entries = list(entries)
    if not entries:
        raise BadBundle(Message("The archive has no files."))
    if len(entries) > MAX_FILES:
        raise too_many(len(entries))
    check_sizes(entry.size for entry in entries)
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for entry in entries:
        _note(files, entry.path)
        for folder in PurePosixPath(entry.path).parents:
            if str(folder) != ".":
                folders.setdefault(_folded(str(folder)), str(folder))
                if folders[_folded(str(folder))] != str(folder):
                    raise _alike(str(folder), folders[_folded(str(folder))])
    for key in files.keys() & folders.keys():
        raise _alike(files[key], folders[key])


def check_sizes(sizes: Iterable[int]) -> None:
    """Raises BadBundle."""
    if sum(sizes) > MAX_UNPACKED_BYTES:
        raise BadBundle(
            Message(
                "Unpacked, the archive has more than %(limit)d MB.",
                limit=MAX_UNPACKED_BYTES // 1024**2,
            )
        )


def too_many(count: int) -> BadBundle:
    return BadBundle(
        Message(
            "The archive has %(count)d files; at most %(limit)d are accepted.",
            count=count,
            limit=MAX_FILES,
        )
    )


def _note(files: dict[str, str], path: str) -> None:
    key = _folded(path)
    if key in files:
        raise _alike(path, files[key])
    files[key] = path


def _alike(path: str, other: str) -> BadBundle:
    """One would overwrite the other where case or composition of letters does not count."""
    return BadBundle(
        Message(
            "Two names of the archive are the same on some systems: %(path)s, %(other)s.",
            path=shown(path),
            other=shown(other),
        )
    )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def shown(path: str) -> str:
    """A name as messages have it."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in path)
    return text if len(text) <= 200 else f"{text[:200]}…"
