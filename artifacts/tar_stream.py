"""A tar archive that is produced while it is read, so that nothing is copied to disk first."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from core.files import open_file

CHUNK_BYTES = 1024 * 1024


class Changed(Exception):
    """A file was written, replaced or removed while it was read."""


class Member(NamedTuple):
    """A file of an archive: its name there, its size in bytes, when it was modified (Unix seconds),
    how to open it, and what raises Changed if the opened file is not as it was found. ``link``: the
    target of a symbolic link, which has no bytes."""

    name: str
    size: int
    modified_at: float
    open: Callable[[], IO[bytes]]
    check: Callable[[IO[bytes]], None] = lambda _file: None
    mode: int = 0o644
    link: str = ""


def member_of(name: str, path: Path, found: os.stat_result | None = None) -> Member:
    """A file on disk, as it was ``found`` (then also of that user alone), else as it is now. Raises
    Changed if it does not exist."""
    try:
        status = found or path.stat()
    except FileNotFoundError as error:
        raise Changed(str(path)) from error
    opening = partial(open_file, path, None if found is None else found.st_uid)
    check = partial(check_unchanged, status)
    return Member(name, status.st_size, status.st_mtime, opening, check)


def link_to(name: str, path: Path) -> Member:
    """A symbolic link on disk."""
    modified_at = path.lstat().st_mtime
    return Member(name, 0, modified_at, partial(open_file, path), link=os.readlink(path))


def check_unchanged(found: os.stat_result, file: IO[bytes]) -> None:
    """Raises Changed if the opened file is not the one that was found, or was written since."""
    now = os.fstat(file.fileno())
    if _identity(now) != _identity(found):
        raise Changed(str(file.name))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class CheckedFile:
    """The bytes of a file that was ``found``."""

    def __init__(self, file: IO[bytes], found: os.stat_result) -> None:
        self._file, self._found = file, found

    def read(self, size: int = -1, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end; everything if ``size`` is negative.

        Raises Changed if the file is not as it was found.
        """
        content = self._file.read(size)
        check_unchanged(self._found, self._file)
        return content


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
    info.size, info.mtime, info.mode = member.size, int(member.modified_at), member.mode
    if member.link:
        info.type, info.linkname = tarfile.SYMTYPE, member.link
    header: bytes = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header


def _blocks_of(member: Member) -> Iterator[bytes]:
    yield _header(member)
    if member.link:
        return
    missing = member.size
    try:
        with member.open() as file:
            while missing:
                chunk = file.read(min(CHUNK_BYTES, missing))
                if not chunk:
                    raise Changed(member.name)
                missing -= len(chunk)
                member.check(file)
                yield chunk
            member.check(file)
    except FileNotFoundError as error:
        raise Changed(member.name) from error
    yield bytes(-member.size % tarfile.BLOCKSIZE)
