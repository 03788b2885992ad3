"""Atomic file writes: a file is complete or absent, even if the process or machine crashes."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing any old file, or raise OSError and change nothing.

    The temporary file has a fixed name that starts with a dot: readers of the folder skip it, and
    the next write of the same file overwrites what a killed process left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    # The directory holds the new name, so it must be synced as well. Windows cannot open a
    # directory for this.
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
