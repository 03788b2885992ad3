"""The first bytes of an artifact, and why a preview of it cannot be shown."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _

from artifacts.models import Artifact
from core.messages import Message, Text

MAX_TEXT_BYTES: Final = 1024 * 1024
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
MAX_REPLACED: Final = 0.02  # of the characters of a text


class Unreadable(Exception):
    """The file is not what its name says, or too large to be shown; ``message`` says which."""

    def __init__(self, message: Text) -> None:
        super().__init__(message)
        self.message = message


def suffix_of(artifact: Artifact) -> str:
    """The end of the file's name from its last dot on, in lower case; empty without a dot."""
    _stem, dot, end = artifact.file_name.rpartition(".")
    return f".{end.lower()}" if dot else ""


def read_bytes(artifact: Artifact, first: int, end: int) -> bytes:
    """The bytes from ``first`` to before ``end``, or to the end of the file. Raises
    FileNotFoundError."""
    missing, chunks = end - first, []
    with artifact.open(first, end) as file:
        while missing > 0 and (chunk := file.read(missing)):
            chunks.append(chunk)
            missing -= len(chunk)
    return b"".join(chunks)


def check_size(artifact: Artifact, limit: int) -> None:
    """Raises Unreadable if the file has more than ``limit`` bytes."""
    if artifact.size_bytes > limit:
        raise Unreadable(
            Message(
                "The file has %(size)d bytes; up to %(limit)d are shown here.",
                size=artifact.size_bytes,
                limit=limit,
            )
        )


def read_text(artifact: Artifact, limit: int = MAX_TEXT_BYTES) -> tuple[str, bool]:
    """The first ``limit`` bytes as text, and whether there are more. Raises Unreadable if they are
    no text, FileNotFoundError."""
    content = read_bytes(artifact, 0, limit)
    is_cut = artifact.size_bytes > limit
    if is_cut:  # not in the middle of a character
        content = content[: max(content.rfind(b"\n") + 1, limit - 3)]
    text = decoded(content)
    if "\x00" in text or text.count(REPLACEMENT) > MAX_REPLACED * len(text):
        raise Unreadable(_("The file is not text."))
    return text, is_cut


def decoded(content: bytes) -> str:
    """UTF-8, with or without a mark of it, or UTF-16 or GB 18030; U+FFFD for what is none."""
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return content.decode("utf-16", errors="replace")
    text = content.decode("utf-8-sig", errors="replace")
    if text.count(REPLACEMENT) > MAX_REPLACED * len(text):
        chinese = content.decode("gb18030", errors="replace")
        if REPLACEMENT not in chinese:
            return chinese
    return text
