"""Writing files that are whole or absent, whenever the process or the machine dies."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, replacing what is there, or raise OSError and change nothing.

    The temporary file has a fixed name that starts with a dot: readers of the folder pass over
    it, and what a killed process left behind is overwritten when the same file is written again.
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
    # The new name lives in the directory, which has to reach the disk as well. Windows cannot
    # open a directory for this.
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
