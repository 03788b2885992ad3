"""Pictures: a file whose first bytes are those of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from django.utils.translation import gettext as _

from artifacts.models import Artifact
from artifacts.previews.contents import Unreadable, check_size, read_bytes, suffix_of

CONTENT_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
}
MAX_BYTES: Final = 32 * 1024 * 1024
_STARTS: Final = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "image/bmp": b"BM",
}


@dataclass(frozen=True, slots=True)
class Image:
    template: ClassVar[str] = "artifacts/previews/_image.html"

    content_type: str


def read(artifact: Artifact) -> Image:
    content_type = CONTENT_TYPES[suffix_of(artifact)]
    check_size(artifact, MAX_BYTES)
    start = _STARTS.get(content_type)
    if start and not read_bytes(artifact, 0, len(start)).startswith(start):
        raise Unreadable(_("The file is no picture of the kind that its name says."))
    return Image(content_type)
