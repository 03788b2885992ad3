"""The small files by which an attempt's launcher and its workers understand each other.

They can be written even when the disk is full: their places are reserved while the attempt is
created. Only their owner may read them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

RESERVED_BYTES: Final = 4096  # a block of most file systems


def private(path: str, flags: int) -> int:
    """An opener of files that only their owner may read, however open the umask is."""
    return os.open(path, flags, 0o600)


def write_text_atomically(path: Path, text: str) -> None:
    """Write so that a reader finds all of it or nothing. Raises OSError; then it leaves nothing."""
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "w", opener=private) as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: Path, content: object) -> None:
    """Write JSON so that a reader finds all of it or nothing. Raises OSError."""
    write_text_atomically(path, json.dumps(content))


def read(path: Path) -> Any:
    """The JSON in ``path``; None if there is no such file. Raises OSError, ValueError."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def reserve(path: Path, size_bytes: int = RESERVED_BYTES) -> None:
    """Take the place on the disk that ``path`` will need. Raises OSError."""
    with open(_spare(path), "wb", opener=private) as file:
        file.write(b" " * size_bytes)


def write_reserved(path: Path, content: object) -> None:
    """Write JSON atomically into the place reserved for it, once. Raises OSError if there is
    none."""
    spare = _spare(path)
    with spare.open("r+b") as file:
        file.write(json.dumps(content).encode().ljust(spare.stat().st_size))
    os.replace(spare, path)


def raise_flag(path: Path) -> None:
    """Create the empty file ``path``, if there is none: from its reserved place, which needs
    nothing of the disk, if it has one. Raises OSError."""
    if path.exists():
        return
    spare = _spare(path)
    try:
        os.utime(spare)
        os.replace(spare, path)
    except FileNotFoundError:
        path.touch(0o600)


def file_time(directory: Path) -> float:
    """Now, in Unix seconds, by the clock that dates the files in ``directory``: a file server's is
    not this host's."""
    try:
        os.utime(directory)
        return directory.stat().st_mtime
    except OSError:
        return time.time()


def _spare(path: Path) -> Path:
    return path.with_name(f"{path.name}.spare")
