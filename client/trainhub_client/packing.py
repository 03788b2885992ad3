"""Packs a folder of code: what is in it, its hash, and the archive that is sent.

The hash is that of the files, as the server computes it: the sha256 of one line a file, sorted by
the path's bytes, ``<kind> <sha256> <path>`` and NUL, where the kind is ``f``, ``x`` (executable) or
``l`` (a symbolic link). The archive is a zip with the same bytes for the same files.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from trainhub_client.errors import ClientError
from trainhub_client.ignoring import Rules
from trainhub_client.output import size

MAX_ARCHIVE_BYTES = 100 * 1024**2
MAX_UNPACKED_BYTES = 500 * 1024**2
MAX_FILES = 10_000
MAX_PATH_BYTES = 500
CHUNK_BYTES = 1024 * 1024
NAMED = 10  # of the largest files
DATE = (1980, 1, 1, 0, 0, 0)
UNIX = 3
MODES = {"f": stat.S_IFREG | 0o644, "x": stat.S_IFREG | 0o755, "l": stat.S_IFLNK | 0o777}
SECRETS = (
    *(".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.keystore", "id_rsa", "id_dsa"),
    *("id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".npmrc", ".pypirc", "kaggle.json"),
    *("credentials", "credentials.json", "service-account*.json", "*.kdbx", ".git-credentials"),
)
NO_SECRETS = ("*.example", "*.sample", "*.template", "*.pub")


class CannotPack(ClientError):
    """The folder cannot be sent as it is."""


@dataclass(frozen=True)
class File:
    """``path``: below the folder, with slashes; ``size``: bytes; ``target``: of a link."""

    path: str
    kind: str
    size: int
    target: str = ""


@dataclass(frozen=True)
class Packed:
    sha256: str  # of the files
    archive_sha256: str
    archive_bytes: int


def files_of(folder: Path) -> list[File]:
    """The files that are packed, by path. Raises CannotPack, with every reason at once."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise CannotPack(f"{folder} is no folder.", "no_folder")
    found, problems = _walk(folder)
    problems += _problems_of_names(found)
    if problems:
        more = f" (and {len(problems) - NAMED} more)" if len(problems) > NAMED else ""
        raise CannotPack("\n".join(problems[:NAMED]) + more, "cannot_pack")
    if not found:
        raise CannotPack(f"{folder} has no files that are not ignored.", "no_files")
    if len(found) > MAX_FILES:
        raise CannotPack(
            f"{len(found)} files are too many, {MAX_FILES} is the limit. "
            "Leave some out with .trainhubignore.",
            "too_many_files",
        )
    total = sum(file.size for file in found)
    if total > MAX_UNPACKED_BYTES:
        raise _too_large(f"The files have {size(total)}", MAX_UNPACKED_BYTES, found)
    return found


def _walk(folder: Path) -> tuple[list[File], list[str]]:
    rules = Rules(folder)
    found: list[File] = []
    problems: list[str] = []
    pending = [""]
    while pending:
        relative = pending.pop()
        rules.enter(relative)
        try:
            entries = sorted(os.scandir(folder / relative), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"{_shown(relative or '.')} cannot be read: {error.strerror}.")
            continue
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if rules.leaves_out(path, is_folder=is_folder):
                continue
            if is_folder:
                pending.append(path)
            else:
                _take(folder, path, entry, found, problems)
    return sorted(found, key=lambda file: os.fsencode(file.path)), problems


def _take(
    folder: Path, path: str, entry: os.DirEntry[str], found: list[File], problems: list[str]
) -> None:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(folder / path)
        if _leads_out(path, target):
            problems.append(f"The link {_shown(path)} leads out of the folder: {_shown(target)}.")
        else:
            found.append(File(path, "l", len(os.fsencode(target)), target))
    elif stat.S_ISREG(status.st_mode):
        kind = "x" if status.st_mode & 0o111 else "f"
        if os.access(folder / path, os.R_OK):
            found.append(File(path, kind, status.st_size))
        else:
            problems.append(f"{_shown(path)} cannot be read: you have no permission.")
    else:
        problems.append(f"{_shown(path)} is neither a file nor a link. Leave it out.")


def _leads_out(path: str, target: str) -> bool:
    depth = len(PurePosixPath(path).parent.parts)
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in {"", "."} else 1
        if depth < 0:
            return True
    return not target or target.startswith("/") or "\\" in target


def _problems_of_names(files: Iterable[File]) -> list[str]:
    problems: list[str] = []
    seen: dict[str, str] = {}
    for file in files:
        try:
            encoded = file.path.encode() + file.target.encode()
        except UnicodeEncodeError:
            problems.append(f"The name {_shown(file.path)} is not in UTF-8.")
            continue
        if not (file.path + file.target).isprintable() or "\\" in file.path:
            problems.append(f"The name {_shown(file.path)} has characters that are no text.")
        if len(encoded) > MAX_PATH_BYTES:
            problems.append(f"The path {_shown(file.path)} is too long.")
        folded = unicodedata.normalize("NFC", file.path).casefold()
        other = seen.setdefault(folded, file.path)
        if other != file.path:
            problems.append(
                f"{_shown(other)} and {_shown(file.path)} have the same name on some systems."
            )
    return problems


def _shown(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


def _too_large(what: str, limit: int, files: Iterable[File]) -> CannotPack:
    largest = sorted(files, key=lambda file: -file.size)[:NAMED]
    listed = "\n".join(f"  {size(file.size):>9}  {file.path}" for file in largest)
    return CannotPack(
        f"{what}; at most {limit // 1024**2} MB are accepted. The largest files:\n{listed}\n"
        "Leave out what is no code: name it in .trainhubignore (as in .gitignore).",
        "too_large",
    )


def likely_secrets(files: Iterable[File]) -> list[str]:
    """The paths whose names are those of secrets."""
    return [file.path for file in files if _is_secret(file.path.rpartition("/")[2].lower())]


def _is_secret(name: str) -> bool:
    matches = fnmatch.fnmatchcase
    return any(matches(name, pattern) for pattern in SECRETS) and not any(
        matches(name, pattern) for pattern in NO_SECRETS
    )


def pack(
    folder: Path,
    files: list[File],
    target: IO[bytes],
    tell: Callable[[int], None] = lambda _count: None,
) -> Packed:
    """Write the archive of ``files``. ``tell`` gets the number of bytes read, again and again.
    Raises CannotPack, also as soon as the archive is too large."""
    folder = folder.resolve()
    listing = hashlib.sha256()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files, key=lambda it: it.path.encode()):
            info = zipfile.ZipInfo(file.path, DATE)
            info.create_system, info.external_attr = UNIX, MODES[file.kind] << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if file.kind == "l":
                archive.writestr(info, file.target.encode())
                digest = hashlib.sha256(file.target.encode()).hexdigest()
            else:
                digest = _add(archive, info, folder / file.path, tell)
            listing.update(f"{file.kind} {digest} {file.path}\0".encode())
            if target.tell() > MAX_ARCHIVE_BYTES:
                raise _too_large("Packed, the files have more than that", MAX_ARCHIVE_BYTES, files)
    size_bytes = target.tell()
    if size_bytes > MAX_ARCHIVE_BYTES:
        raise _too_large(f"Packed, the files have {size(size_bytes)}", MAX_ARCHIVE_BYTES, files)
    return Packed(listing.hexdigest(), _hash_of(target), size_bytes)


def _add(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, tell: Callable[[int], None]
) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as source, archive.open(info, "w") as member:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                member.write(chunk)
                tell(len(chunk))
    except OSError as error:
        raise CannotPack(f"{path} cannot be read: {error.strerror}.", "cannot_pack") from None
    return digest.hexdigest()


def _hash_of(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
