"""A tar archive that is produced while it is read, so that nothing is copied to disk first."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

CHUNK_BYTES = 1024 * 1024


class Changed(Exception):
    """A file was truncated or removed while it was read."""


class Member(NamedTuple):
    """A file of an archive: its name there, its size in bytes, when it was modified (Unix seconds),
    and how to open it."""

    name: str
    size: int
    modified_at: float
    open: Callable[[], IO[bytes]]


def member_of(name: str, path: Path) -> Member:
    """A file on disk. Raises Changed if it does not exist."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise Changed(str(path)) from error
    return Member(name, status.st_size, status.st_mtime, partial(open_file, path))


def open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


class TarStream:
    """The archive (pax, POSIX.1-2001) of ``members``, each of which is asked for when its turn
    comes."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._blocks = blocks(members)
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end; everything if ``size`` is negative.

        Raises Changed.
        """
        parts, missing = [self._rest], size - len(self._rest)
        while size < 0 or missing > 0:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            missing -= len(block)
        content = b"".join(parts)
        end = len(content) if size < 0 else size
        self._rest = content[end:]
        return content[:end]


def blocks(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of the archive. Raises Changed."""
    for member in members:
        yield from _blocks_of(member)
    yield bytes(2 * tarfile.BLOCKSIZE)


def size_of(members: Iterable[Member]) -> int:
    """The number of bytes of the archive."""
    headers = sum(len(_header(member)) for member in members)
    contents = sum(member.size + -member.size % tarfile.BLOCKSIZE for member in members)
    return headers + contents + 2 * tarfile.BLOCKSIZE


def _header(member: Member) -> bytes:
    info: Any = tarfile.TarInfo(member.name)
    info.size, info.mtime = member.size, int(member.modified_at)
    header: bytes = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header


def _blocks_of(member: Member) -> Iterator[bytes]:
    yield _header(member)
    missing = member.size
    try:
        with member.open() as file:
            while missing:
                chunk = file.read(min(CHUNK_BYTES, missing))
                if not chunk:
                    raise Changed(member.name)
                missing -= len(chunk)
                yield chunk
    except FileNotFoundError as error:
        raise Changed(member.name) from error
    yield bytes(-member.size % tarfile.BLOCKSIZE)
