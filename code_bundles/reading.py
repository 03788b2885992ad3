"""Single files of bundles, and the rows that show them."""

from __future__ import annotations

from typing import Final

from code_bundles import storing
from code_bundles.manifest import entries_of
from runs.models import CodeBundle

MAX_SHOWN_BYTES: Final = 512 * 1024


def content_of(bundle: CodeBundle, path: str) -> bytes | None:
    """A file's bytes; None if the bundle has none of this name. Raises FileNotFoundError,
    BadBundle."""
    if not any(entry.path == path for entry in entries_of(bundle.files)):
        return None
    with storing.opened(bundle) as archive:
        return archive.read(path)


def text_of(bundle: CodeBundle, path: str) -> str | None:
    """A file as a page shows it; None if it is large or no text. Raises KeyError if there is none
    of this name, FileNotFoundError, BadBundle."""
    sizes = {entry.path: entry.size for entry in entries_of(bundle.files)}
    if sizes[path] > MAX_SHOWN_BYTES:
        return None
    content = content_of(bundle, path) or b""
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None
