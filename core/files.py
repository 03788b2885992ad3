"""Files that other users of this machine may have a hand in: opened with care, kept from them."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from pathlib import Path
from typing import IO, Final

# A handle that neither reads nor starts anything, on Linux; 0 elsewhere.
_O_PATH: Final[int] = getattr(os, "O_PATH", 0)


def open_file(path: Path, owner: int | None = None) -> IO[bytes]:
    """Open a regular file; never waits, as opening a FIFO would. ``owner``: the UID that it must
    belong to, whatever links lead to it: a program with more rights than the one that left the path
    must not read for it. Raises OSError."""
    return open(path, "rb", opener=partial(_open_regular, owner=owner))


def _open_regular(path: str, flags: int, owner: int | None) -> int:
    if owner is None or not _O_PATH:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
        try:
            _check(path, descriptor, owner)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    # Opening a device may do something already: look first at what the path leads to.
    handle = os.open(path, _O_PATH | os.O_CLOEXEC)
    try:
        _check(path, handle, owner)
        return os.open(f"/proc/self/fd/{handle}", flags | os.O_NONBLOCK)
    finally:
        os.close(handle)


def _check(path: str, descriptor: int, owner: int | None) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    _check_owner(path, status, owner)


def _check_owner(path: str, status: os.stat_result, owner: int | None) -> None:
    if owner is not None and status.st_uid != owner:
        raise PermissionError(errno.EPERM, "it belongs to another user", path)


def names_in(folder: Path, owner: int | None = None) -> list[str]:
    """The names in a folder; see ``open_file``. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_owner(str(folder), os.fstat(descriptor), owner)
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def status_of(path: Path, owner: int | None = None) -> os.stat_result:
    """Of what the path leads to; see ``open_file``. Raises OSError."""
    status = path.stat()
    _check_owner(str(path), status, owner)
    return status


def private(path: str, flags: int) -> int:
    """An opener of files that only their owner may read, however open the umask is."""
    return os.open(path, flags, 0o600)


def close_to_others(path: Path, *, but: int = 0) -> bool:
    """Take from other users what they may do with ``path``, except the bits ``but``; the group
    keeps its rights, as servers may share a directory by it. Whether anything was open.

    Raises OSError.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    closed = mode & ~(stat.S_IRWXO & ~but)
    if closed == mode:
        return False
    path.chmod(closed)
    return True


def open_to_pass(folder: Path) -> None:
    """Let other users reach what they know the name of in ``folder``, but not look around. Raises
    OSError."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    passable = mode | stat.S_IXGRP | stat.S_IXOTH
    if passable != mode:
        folder.chmod(passable)
