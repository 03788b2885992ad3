"""Which files of nodes are parts of ingested checkpoints, and where their bytes are then."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from artifacts.models import Artifact
from execution.executor_state import AttemptNotes
from execution.executors.attempt import Attempt
from execution.executors.checkpoint_files import Damaged, unpack
from execution.executors.found_checkpoint import FOLDER_SUFFIX, version_of
from execution.mirror.paths import CHECKPOINTS
from execution.models import MirroredFile
from runs.models import Run

UNPACKED: Final = "stored"  # in the attempt's directory, while files are taken from it


@dataclass(frozen=True)
class Ingested:
    """A checkpoint that was ingested: its path in the checkpoint folder, its entry in the notes,
    and its files as their nodes list them now."""

    saved_as: str
    entry: list[int]
    files: list[MirroredFile]

    @property
    def stamp(self) -> list[int]:
        """As FoundCheckpoint.stamp."""
        sizes = sum(file.size or 0 for file in self.files)
        return [sizes, max(file.modified_ns for file in self.files), len(self.files)]

    @property
    def is_unchanged(self) -> bool:
        return self.stamp == self.entry[:3]

    def inside(self, file: MirroredFile) -> str:
        """Its path within the checkpoint."""
        return file.path.removeprefix(f"{CHECKPOINTS}/{self.saved_as}").lstrip("/")


def first_of_each(rows: Iterable[MirroredFile]) -> dict[str, MirroredFile]:
    """By path; of a file that several nodes have, that of the first in ``rows``. Of what is a file
    on one node and a folder on another, the file."""
    found: dict[str, MirroredFile] = {}
    for row in rows:
        found.setdefault(row.path, row)
    return {
        path: row
        for path, row in found.items()
        if not any(folder in found for folder in _folders_of(path))
    }


def ingested_in(files: Iterable[MirroredFile], notes: AttemptNotes) -> list[Ingested]:
    """The ingested checkpoints that have some of ``files``."""
    saved = notes.get("checkpoints", {})
    parts: dict[str, list[MirroredFile]] = defaultdict(list)
    for file in files if saved else ():
        for path in (file.path, *_folders_of(file.path)):
            saved_as = path.removeprefix(f"{CHECKPOINTS}/")
            if saved_as != path and saved_as in saved:
                parts[saved_as].append(file)
    return [Ingested(saved_as, saved[saved_as], found) for saved_as, found in parts.items()]


def _folders_of(path: str) -> Iterator[str]:
    """The folders that ``path`` is in, innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


@contextmanager
def unpacked(run: Run, attempt: Attempt, checkpoint: Ingested) -> Iterator[Path | None]:
    """A folder with the files of the checkpoint as they were ingested; None if it is not stored any
    more. Raises OSError, and the storage's errors."""
    artifact = _artifact_of(run, attempt, checkpoint)
    folder = attempt.directory / UNPACKED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield None if artifact is None else _unpacked(artifact, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _artifact_of(run: Run, attempt: Attempt, checkpoint: Ingested) -> Artifact | None:
    """Whose bytes are those of the entry: neither of an earlier attempt, nor of another save."""
    version = version_of(attempt.number, checkpoint.saved_as, checkpoint.entry[:3])
    stored = Artifact.objects.own().checkpoints().filter(run=run)
    return stored.filter(file__endswith=f"-{version}{FOLDER_SUFFIX}").first()


def _unpacked(artifact: Artifact, folder: Path) -> Path | None:
    try:
        return unpack(artifact, folder)
    except Damaged:
        return None


def has_all(folder: Path, checkpoint: Ingested, files: Iterable[MirroredFile]) -> bool:
    """Whether ``files`` are in ``folder`` as their nodes list them now."""
    newest = checkpoint.entry[1]
    for file in files:
        path = folder / checkpoint.inside(file)
        is_here = path.is_file() and os.path.getsize(path) == file.size
        if not is_here or file.modified_ns > newest:
            return False
    return True
