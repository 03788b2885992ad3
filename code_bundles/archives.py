"""The archives of bundles: zip files (APPNOTE 6.3) of few features, checked before they are read.

A zip has a directory with every file's size, so that one file can be read without the others, also
from S3, and an archive can be refused before anything is unpacked. What no packer of ours writes is
refused: other compression than deflate, encryption, zip64, comments.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from code_bundles.limits import MAX_DIRECTORY_BYTES, MAX_FILES
from code_bundles.manifest import (
    EXECUTABLE,
    FILE,
    LINK,
    BadBundle,
    Entry,
    check_all,
    check_path,
    check_sizes,
    check_target,
    hash_of,
    too_many,
)
from core.messages import Message

CHUNK_BYTES: Final = 256 * 1024
MAX_TARGET_BYTES: Final = 1000
MODES: Final = {
    FILE: stat.S_IFREG | 0o644,
    EXECUTABLE: stat.S_IFREG | 0o755,
    LINK: stat.S_IFLNK | 0o777,
}
# The date of every file in an archive, and as unpacked: nothing that a run writes is that old.
DATE: Final = (1980, 1, 1, 0, 0, 0)
UNPACKED_MTIME: Final = 315_532_800  # 1980-01-01 UTC, Unix seconds

_END: Final = struct.Struct("<4s4H2LH")  # the end of central directory record, APPNOTE 4.3.16
_LOCATOR_BYTES: Final = 20  # before it, APPNOTE 4.3.15
_UNIX: Final = 3
_ENCRYPTED: Final = 0x1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


@contextmanager
def opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The archive in a seekable file, its directory checked. Raises BadBundle, also for what is
    found to be broken while it is read."""
    _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive.infolist())
            yield archive
    except BadBundle:
        raise
    except _ERRORS as error:
        raise _broken(error) from error


def _broken(why: object) -> BadBundle:
    return BadBundle(Message("The archive is no sound zip file: %(why)s.", why=str(why)))


def _check_end(file: IO[bytes]) -> None:
    """The directory must not be larger than can be held in memory; a locator of zip64 would name
    another one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size - _LOCATOR_BYTES))
    tail = file.read(_END.size + _LOCATOR_BYTES)
    record = tail[-_END.size :]
    if len(record) < _END.size or not record.startswith(b"PK\x05\x06"):
        raise _broken("its last record is missing")
    _mark, disk, first_disk, _here, count, directory_bytes, offset, comment = _END.unpack(record)
    is_large = count == 0xFFFF or offset == 0xFFFFFFFF or tail.startswith(b"PK\x06\x07")
    if disk or first_disk or comment or is_large:
        raise _broken("it is of a kind that is not read here")
    if count > MAX_FILES:
        raise too_many(count)
    if directory_bytes > MAX_DIRECTORY_BYTES or directory_bytes + _END.size > size:
        raise _broken("its directory is too large")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise too_many(len(members))
    check_sizes(member.file_size for member in members)
    for member in members:
        check_path(member.filename)
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise _broken("a file is encrypted, or compressed in a way that is not read here")
        if kind_of(member) == LINK and member.file_size > MAX_TARGET_BYTES:
            raise BadBundle(
                Message("The link %(path)s leads out of the folder: %(target)s.",
                        path=member.filename, target="…")
            )  # fmt: skip


def kind_of(member: zipfile.ZipInfo) -> str:
    """Raises BadBundle for what is neither a file nor a link."""
    mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return LINK
    if kind not in {0, stat.S_IFREG}:
        raise BadBundle(Message("%(path)s is neither a file nor a link.", path=member.filename))
    return EXECUTABLE if mode & 0o111 else FILE


def examined(archive: zipfile.ZipFile) -> list[Entry]:
    """Every file, by path. Reads all of them. Raises BadBundle."""
    entries = []
    for member in archive.infolist():
        digest, size, start = hashlib.sha256(), 0, b""
        with archive.open(member) as file:
            while chunk := file.read(CHUNK_BYTES):
                start = start or chunk
                size += len(chunk)
                digest.update(chunk)
        kind = kind_of(member)
        if kind == LINK:
            check_target(member.filename, _text(start))
        entries.append(Entry(member.filename, kind, size, digest.hexdigest()))
    check_all(entries)
    return sorted(entries, key=lambda entry: entry.path.encode())


def _text(target: bytes) -> str:
    return target.decode(errors="replace")


def unpack(archive: zipfile.ZipFile, folder: Path, sha256: str) -> None:
    """Write every file below ``folder``, a new one that nobody else can enter yet; links last, so
    that none is written through. Raises BadBundle if the files are not those of the hash."""
    folder.mkdir()
    links: list[tuple[Path, str]] = []
    entries: list[Entry] = []
    for member in archive.infolist():
        path, kind = folder / member.filename, kind_of(member)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == LINK:
            target = archive.read(member)
            check_target(member.filename, _text(target))
            links.append((path, _text(target)))
            digest, size = hashlib.sha256(target).hexdigest(), len(target)
        else:
            digest, size = _write(archive, member, path, 0o755 if kind == EXECUTABLE else 0o644)
        entries.append(Entry(member.filename, kind, size, digest))
    check_all(entries)
    if hash_of(entries) != sha256:
        raise BadBundle(Message("Its files are not those that were stored."))
    for path, text in links:
        path.symlink_to(text)


def _write(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, mode: int
) -> tuple[str, int]:
    """The file's sha256 and size."""
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "wb") as target, archive.open(member) as source:
        while chunk := source.read(CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fchmod(descriptor, mode)  # whatever the umask
        os.utime(descriptor, (UNPACKED_MTIME, UNPACKED_MTIME))
    return digest.hexdigest(), size


def pack(files: Iterable[tuple[str, str, Callable[[], bytes]]], target: IO[bytes]) -> list[Entry]:
    """Write an archive of ``files``, each its path, its kind and what reads it, by path. Returns
    them as ``examined`` does. Raises BadBundle."""
    entries, total = [], 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, kind, read in sorted(files, key=lambda it: it[0].encode()):
            check_path(path)
            content = read()
            total += len(content)
            check_sizes([total])
            if kind == LINK:
                check_target(path, _text(content))
            entries.append(Entry(path, kind, len(content), hashlib.sha256(content).hexdigest()))
            archive.writestr(_info(path, kind), content)
    check_all(entries)
    return entries


def _info(path: str, kind: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, DATE)
    info.create_system = _UNIX
    info.external_attr = MODES[kind] << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
