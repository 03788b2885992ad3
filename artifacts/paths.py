"""A file's path below its run: what may be one, and which paths exclude each other."""

from __future__ import annotations

import unicodedata
from typing import Final

from django.utils.translation import gettext as _

from trainhub.exceptions import InvalidInput

MAX_PATH_LENGTH: Final = 500  # characters
MAX_PART_BYTES: Final = 255  # what file systems take, should somebody download it
# Control characters and halves of surrogate pairs.
_UNPRINTABLE: Final = frozenset({"Cc", "Cs"})


class InvalidPath(InvalidInput):
    code = "invalid_path"


def checked_path(text: str) -> str:
    """``text``, a relative path in its normal form. Raises InvalidPath.

    Nothing is put right silently: what a client sends is the address it will ask for.
    """
    parts = text.split("/")
    if not text or any(part in {"", ".", ".."} for part in parts):
        raise _invalid(_("The path must be relative, without empty parts, '.' and '..'."))
    if "\\" in text or any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        raise _invalid(_("The path holds a backslash or a control character."))
    if len(text) > MAX_PATH_LENGTH:
        raise _invalid(
            _("The path is longer than %(limit)d characters.") % {"limit": MAX_PATH_LENGTH}
        )
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise _invalid(
            _("A part of the path is longer than %(limit)d bytes.") % {"limit": MAX_PART_BYTES}
        )
    return text


def _invalid(message: str) -> InvalidPath:
    return InvalidPath(message, attr="path")


def folders_of(path: str) -> list[str]:
    """The folders that ``path`` lies in, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def beside(path: str, mark: str) -> str | None:
    """Another path for the same file: ``a/b.pt`` -> ``a/b@mark.pt``; None if it gets too long."""
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    other = f"{folder}{slash}{stem}@{mark}{dot}{suffix}"
    try:
        return checked_path(other)
    except InvalidPath:
        return None
