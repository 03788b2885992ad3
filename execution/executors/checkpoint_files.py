"""Reads the checkpoints in $TRAINHUB_CHECKPOINT_DIR, and restores stored ones to disk."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from artifacts.models import Artifact
from core.numbers import MAX_BIGINT
from execution.executors.attempt import Ending

# A checkpoint may be written under its final name, so it counts as complete only after it has not
# changed for this long. A folder is written file by file, with pauses in between.
SETTLED_SECONDS = 1.0
SETTLED_FOLDER_SECONDS = 5.0
# A folder is stored as one file with this suffix, which no training's own file has.
FOLDER_SUFFIX = ".folder.tar"

_STEP = re.compile(r"step[-_=]?(\d{1,19})", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,19}")


class Damaged(Exception):
    """The stored checkpoint is missing or corrupt."""


@dataclass(frozen=True)
class CheckpointFile:
    path: Path
    size_bytes: int
    modified_ns: int

    @property
    def stamp(self) -> list[int]:
        """Changes when the checkpoint does; stored as JSON."""
        return [self.size_bytes, self.modified_ns]

    @property
    def step(self) -> int | None:
        """The number in its name: the one after "step", else the last one (checkpoint-200)."""
        name = self.path.name if self.path.is_dir() else self.path.stem
        numbers = _STEP.findall(name) or _NUMBER.findall(name)
        step = int(numbers[-1]) if numbers else None
        return step if step is None or step <= MAX_BIGINT else None

    @property
    def suffix(self) -> str:
        if self.path.is_dir():
            return FOLDER_SUFFIX
        return self.path.suffix if re.fullmatch(r"\.\w{1,16}", self.path.suffix, re.A) else ""

    def version(self, attempt: int) -> str:
        """A short hash that differs from those of other checkpoints of the same step."""
        identity = f"{attempt}/{self.path.name}/{self.stamp}"
        return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:8]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes; a folder is packed into a temporary file, because it may be large."""
        if not self.path.is_dir():
            with self.path.open("rb") as content:
                yield content
            return
        with tempfile.TemporaryFile(dir=self.path.parent.parent) as packed:
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.add(self.path, arcname=self.path.name)
            packed.seek(0)
            yield packed


def settled(folder: Path, ending: Ending | None) -> list[CheckpointFile]:
    """The complete checkpoints in ``folder``, ordered by step.

    Names that begin with a dot or end in .tmp or .part are still being written. While the training
    works, and after it was killed, only what had not changed for a while counts as complete; after
    it ended by itself, everything does.
    """
    at = time.time() if ending is None else ending.trusted_until
    checkpoints = []
    for path in _visible(folder):
        checkpoint = _stat(path)
        settle_seconds = SETTLED_FOLDER_SECONDS if path.is_dir() else SETTLED_SECONDS
        if checkpoint is not None and checkpoint.modified_ns / 1e9 <= at - settle_seconds:
            checkpoints.append(checkpoint)
    return sorted(checkpoints, key=lambda item: (item.step or 0, item.modified_ns, item.path.name))


def _visible(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        hidden = path.name.startswith(".") or path.suffix in {".tmp", ".part"}
        if not hidden and (path.is_file() or path.is_dir()):
            yield path


def _stat(path: Path) -> CheckpointFile | None:
    """None for an empty folder, or if the path has disappeared (trainings prune checkpoints)."""
    try:
        parts = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
        stats = [part.stat() for part in parts]
    except FileNotFoundError:
        return None
    if not stats:
        return None
    size = sum(stat.st_size for stat in stats)
    return CheckpointFile(path, size, max(stat.st_mtime_ns for stat in stats))


def fetch(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the checkpoint's file or folder into ``folder`` and return its path.

    Raises Damaged, after removing partial files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.folder:
        return _fetch_folder(checkpoint, folder)
    target = folder / checkpoint.file_name
    _copy(checkpoint, target)
    return _unpack(target) if target.name.endswith(FOLDER_SUFFIX) else target


def _fetch_folder(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the folder of a checkpoint that was logged file by file."""
    target = folder / PurePosixPath(checkpoint.folder).name
    try:
        for part in checkpoint.parts():
            path = target / PurePosixPath(part.file).relative_to(checkpoint.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(part, path)
    except Damaged:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _copy(artifact: Artifact, target: Path) -> None:
    """Raises Damaged, with nothing left at ``target``."""
    digest = hashlib.sha256()
    try:
        with artifact.open() as source, target.open("wb") as copy:
            for chunk in source.chunks(1024 * 1024):
                digest.update(chunk)
                copy.write(chunk)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        raise Damaged("its bytes are missing") from None
    if digest.hexdigest() != artifact.sha256:
        target.unlink()
        raise Damaged("its sha256 does not match the recorded one")


def _unpack(packed: Path) -> Path:
    folder = packed.with_name("unpacked")
    try:
        with tarfile.open(packed) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Damaged(f"it cannot be unpacked: {error}") from None
    finally:
        packed.unlink()
    unpacked = next(folder.iterdir(), None) if folder.exists() else None
    if unpacked is None:
        raise Damaged("it is empty")
    return unpacked
