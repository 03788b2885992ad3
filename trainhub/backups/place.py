"""A directory of backups: each in a folder of its own, files in one that they share.

<place>/files/ab/abcd…          a stored file, by its sha256
<place>/20261130T120000Z/       a backup:
    manifest.json               written last: a folder without one is no backup
    files.jsonl                 which key of the storage has which sha256
    amended.json                rows that are newer than the database's dump
    database/                   of pg_dump, in the directory format
<place>/lock                    locked while a backup is made
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from django.utils.translation import gettext as _

from artifacts.storage import CHUNK_BYTES, HashingFile
from trainhub.backups.errors import BackupError, byte_bar

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
FILES: Final = "files.jsonl"
AMENDED: Final = "amended.json"
DATABASE: Final = "database"
UNFINISHED: Final = ".unfinished-"


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored file and its bytes. ``sha256`` is empty if the storage has no such file."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup has. ``parts``: the sha256 of its own files, by path; ``tables``: rows and
    checksum; ``missing``, ``differing``: keys whose file the storage did not have, or had with
    other bytes than recorded; ``key_fingerprint``: of the secret key."""

    version: str
    created_at: str
    server_major: int
    migrations: dict[str, list[str]]
    tables: dict[str, tuple[int, str]]
    file_count: int
    file_bytes: int
    key_fingerprint: str
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


class Backup:
    """A finished backup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @property
    def pool(self) -> Pool:
        return Pool(self.folder.parent)

    def files(self) -> Iterator[Kept]:
        with (self.folder / FILES).open(encoding="utf-8") as lines:
            for line in lines:
                yield Kept(**json.loads(line))

    def amended(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / AMENDED).read_bytes())
        return content

    def check(self) -> None:
        """Check its own files: database, lists. Raises BackupError."""
        for path, sha256 in self.manifest.parts.items():
            if _sha256_of(self.folder / path) != sha256:
                raise damaged(self.folder / path)

    def check_files(self) -> None:
        """Read every stored file that it has. Raises BackupError."""
        checked: set[str] = set()
        with byte_bar(_("checking"), self.manifest.file_bytes) as bar:
            for kept in self.files():
                if kept.sha256 and kept.sha256 not in checked:
                    checked.add(kept.sha256)
                    self.pool.check(kept.sha256)
                bar.update(kept.size_bytes if kept.sha256 else 0)


class Pool:
    """The stored files of all backups in a place, each once."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "files"

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        try:
            return self.path(sha256).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def add(self, source: IO[bytes]) -> tuple[str, int]:
        """Copy it; the sha256 and size in bytes. Nothing is left of what cannot be read."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        draft = self.folder / f"{UNFINISHED}{secrets.token_hex(8)}"
        content = HashingFile(source)
        try:
            with _new_file(draft) as file:
                for chunk in content.chunks(CHUNK_BYTES):
                    file.write(chunk)
            target = self.path(content.sha256)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(target)
            _flush_folder(target.parent)
        finally:
            draft.unlink(missing_ok=True)
        return content.sha256, content.byte_count

    def opened(self, sha256: str) -> IO[bytes]:
        """Raises BackupError."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            raise damaged(self.path(sha256)) from None

    def check(self, sha256: str) -> None:
        """Raises BackupError."""
        if _sha256_of(self.path(sha256)) != sha256:
            raise damaged(self.path(sha256))

    def remove_unused(self, used: set[str]) -> None:
        for path in self.folder.glob("??/*"):
            if path.name not in used:
                path.unlink()


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Nobody else makes a backup here meanwhile. What unfinished ones have left is removed. Raises
    BackupError."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = _("Another backup is being made in %(path)s.")
            raise BackupError(text % {"path": place}) from None
        for left in place.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        for left in (place / "files").glob(f"{UNFINISHED}*"):
            left.unlink()
        yield


def finish(draft: Path, target: Path, manifest: dict[str, Any]) -> Backup:
    """Make a folder a backup: its files are flushed, then its manifest, then it gets its name."""
    parts = sorted(path for path in draft.rglob("*") if path.is_file())
    sums = {str(path.relative_to(draft)): _sha256_of(path, flush=True) for path in parts}
    content = asdict(Manifest(**manifest, parts=sums))
    write(draft / MANIFEST, json.dumps(content, ensure_ascii=False, indent=1).encode())
    files = target.parent / "files"
    for folder in (draft / DATABASE, draft, *([files] if files.exists() else [])):
        _flush_folder(folder)
    draft.rename(target)
    _flush_folder(target.parent)
    return Backup(target)


def write(path: Path, content: bytes) -> None:
    with _new_file(path) as file:
        file.write(content)


def backups_in(place: Path) -> list[Path]:
    """The finished ones, the oldest first."""
    return sorted(path.parent for path in place.glob(f"[0-9]*/{MANIFEST}"))


def find(path: Path) -> Backup:
    """The backup at ``path``, or the newest one there. Raises BackupError."""
    if (path / MANIFEST).exists():
        return Backup(path)
    found = backups_in(path)
    if not found:
        text = _("There is no finished backup in %(path)s.")
        raise BackupError(text % {"path": path})
    return Backup(found[-1])


def prune(place: Path, *, keep: int) -> int:
    """Remove all but the newest ``keep`` backups, and files that none of these has. How many."""
    backups = backups_in(place)
    old = backups[:-keep]
    for folder in old:
        (folder / MANIFEST).unlink()  # from now on it is no backup
        folder.rename(place / f"{UNFINISHED}{folder.name}")
        shutil.rmtree(place / f"{UNFINISHED}{folder.name}")
    if old:
        Pool(place).remove_unused(_used(backups[-keep:]))
    return len(old)


def _used(folders: Iterable[Path]) -> set[str]:
    return {kept.sha256 for folder in folders for kept in Backup(folder).files()}


def _read_manifest(folder: Path) -> Manifest:
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        if content["format"] > FORMAT:
            text = _("%(path)s was made by a newer release: upgrade first.")
            raise BackupError(text % {"path": folder})
        return Manifest(**content)
    except (ValueError, TypeError, KeyError):
        raise damaged(folder / MANIFEST) from None


def damaged(path: Path) -> BackupError:
    return BackupError(_("%(path)s is damaged or missing.") % {"path": path})


def _sha256_of(path: Path, *, flush: bool = False) -> str:
    """Empty if there is no such file. ``flush`` it to the disk first."""
    try:
        with path.open("rb") as file:
            if flush:
                os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """To be written, then flushed to the disk. For its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
