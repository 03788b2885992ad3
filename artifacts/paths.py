"""Paths of a run's files: validation, parent folders and renaming."""

from __future__ import annotations

import unicodedata
from typing import Final

from core.exceptions import InvalidInput
from core.messages import Message, Text

MAX_PATH_LENGTH: Final = 500  # characters
MAX_PART_BYTES: Final = 255  # the limit of most file systems, for downloads
# Control characters and halves of surrogate pairs.
_UNPRINTABLE: Final = frozenset({"Cc", "Cs"})


class InvalidPath(InvalidInput):
    code = "invalid_path"


def checked_path(text: str) -> str:
    """Return ``text`` if it is a normalized relative path. Raises InvalidPath.

    Paths are never normalized silently: the client will request the path it sent.
    """
    parts = text.split("/")
    if not text or any(part in {"", ".", ".."} for part in parts):
        raise _invalid(Message("The path must be relative, with no empty, '.' or '..' components."))
    if "\\" in text or any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        raise _invalid(Message("The path contains a backslash or a control character."))
    if len(text) > MAX_PATH_LENGTH:
        raise _invalid(
            Message("The path is longer than %(limit)d characters.", limit=MAX_PATH_LENGTH)
        )
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise _invalid(
            Message("A path component is longer than %(limit)d bytes.", limit=MAX_PART_BYTES)
        )
    return text


def _invalid(message: Text) -> InvalidPath:
    return InvalidPath(message, attr="path")


def folders_of(path: str) -> list[str]:
    """The parent folders of ``path``, outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def renamed_path(path: str, mark: str) -> str | None:
    """A new path for the file: ``a/b.pt`` -> ``a/b@mark.pt``; None if it would be too long."""
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    new_path = f"{folder}{slash}{stem}@{mark}{dot}{suffix}"
    try:
        return checked_path(new_path)
    except InvalidPath:
        return None
