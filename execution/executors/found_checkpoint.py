"""A checkpoint that was found on disk: its files, its step, and whether it is complete."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

from artifacts import folders, layouts, soundness
from artifacts.layouts import MODEL
from artifacts.storage import Source
from artifacts.tar_stream import CheckedFile, TarStream, member_of
from core.files import open_file
from core.messages import Message, Text
from execution.executors.attempt import Ending

# A file may be written under its final name, so it counts as complete only after it has not changed
# for this long. A folder is written file by file, with pauses in between.
SETTLED_SECONDS: Final = 1.0
SETTLED_FOLDER_SECONDS: Final = 5.0
# An incomplete checkpoint that has not changed for this long will not be completed.
DAMAGED_SECONDS: Final = 60.0
# A folder at rest for this long is complete although the file that names the newest one (DeepSpeed,
# Megatron) names an earlier one: not every training updates it.
POINTER_SECONDS: Final = 600.0
MAX_POINTER_BYTES: Final = 256
# A folder is stored as one file with this suffix, which no training's own file has.
FOLDER_SUFFIX: Final = ".folder.tar"
FILE: Final = "file"  # the layout of a checkpoint that is a single file
# ``saved_as`` of what lies loose in the checkpoint folder.
ROOT: Final = layouts.ROOT


class FoundFile(NamedTuple):
    """A file of a checkpoint: its path within it (of a single file, its name), and as found."""

    inside: str
    path: Path
    status: os.stat_result

    def open(self) -> IO[bytes]:
        """What is at its path now, if that belongs to the same user. Raises OSError."""
        return open_file(self.path, self.status.st_uid)


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint on disk. ``saved_as``: its path in the checkpoint folder, in readable
    characters. ``touched_ns``: when an entry of its folders was added or removed."""

    path: Path
    saved_as: str
    layout: str
    files: tuple[FoundFile, ...]
    touched_ns: int = 0
    is_declared: bool = False
    declared_step: int | None = None
    skipped_links: tuple[str, ...] = ()

    @property
    def shown_as(self) -> str:
        """Its path in texts."""
        return MODEL if self.saved_as == ROOT else self.saved_as

    @property
    def is_folder(self) -> bool:
        return self.layout != FILE

    @cached_property
    def size_bytes(self) -> int:
        return sum(file.status.st_size for file in self.files)

    @cached_property
    def modified_ns(self) -> int:
        return max(file.status.st_mtime_ns for file in self.files)

    @property
    def stamp(self) -> list[int]:
        """Changes when the checkpoint does; stored as JSON."""
        return [self.size_bytes, self.modified_ns, len(self.files)]

    @cached_property
    def step(self) -> int | None:
        """The declared step, else the one that the training recorded in it, else that of its path;
        None if these do not tell."""
        if self.is_declared and self.declared_step is not None:
            return self.declared_step
        recorded = soundness.recorded_step(self._openers())
        if recorded is not None:
            return recorded
        return layouts.step_of_checkpoint(self.saved_as, self.layout)

    @property
    def suffix(self) -> str:
        if self.is_folder:
            return FOLDER_SUFFIX
        return self.path.suffix if re.fullmatch(r"\.\w{1,16}", self.path.suffix, re.A) else ""

    def version(self, attempt: int) -> str:
        return version_of(attempt, self.saved_as, self.stamp)

    @contextmanager
    def content(self) -> Iterator[Source]:
        """Its bytes: of a folder, an archive of its files, in a folder of its name.

        Reading raises Changed if a file is not as it was found, OSError if it cannot be read.
        """
        if self.is_folder:
            name = MODEL if self.layout == MODEL else self.path.name
            yield TarStream(
                member_of(f"{name}/{file.inside}", file.path, file.status) for file in self.files
            )
            return
        [single] = self.files
        with single.open() as file:
            yield CheckedFile(file, single.status)

    def problem(self, ending: Ending | None, now: float) -> Text | None:
        """Why it is incomplete; None if it is complete. ``now``: Unix seconds by the clock that
        dates the files.

        Raises Unfinished while it may still be completed, FileNotFoundError if it is being pruned,
        OSError if it cannot be read.
        """
        at = now if ending is None else ending.trusted_until
        rest_seconds = at - max(self.modified_ns, self.touched_ns) / 1e9
        problem = soundness.problem_in(
            self._openers(),
            folder=self.path.name if self.is_folder else "",
            is_declared=self.is_declared,
        )
        is_settled = self.is_declared or (
            rest_seconds >= (SETTLED_FOLDER_SECONDS if self.is_folder else SETTLED_SECONDS)
            and (rest_seconds >= POINTER_SECONDS or not self._is_ahead_of_pointer())
        )
        if ending is None and (not is_settled or (problem and rest_seconds < DAMAGED_SECONDS)):
            raise Unfinished
        if problem is None and not is_settled and not self._is_proven():
            return Message("it may be incomplete: the training was killed while it was written")
        return problem

    def _is_ahead_of_pointer(self) -> bool:
        """Whether the file that names the newest checkpoint, which is written last, names an
        earlier one."""
        pointer = layouts.pointer_to(self.layout, PurePosixPath(self.path.name))
        step = layouts.step_of_checkpoint(self.path.name, self.layout)
        is_sealed = any(file.inside == folders.MEGATRON_METADATA for file in self.files)
        if pointer is None or step is None or is_sealed:
            return False
        try:
            with open_file(self.path.parent / pointer[0], self.files[0].status.st_uid) as file:
                named = re.search(rb"\d{1,19}", file.read(MAX_POINTER_BYTES))
        except OSError:
            return False
        return named is not None and int(named[0]) < step

    def _is_proven(self) -> bool:
        """Whether its format shows that it is complete, however recently it was written. A folder's
        does not: it may still lack a file."""
        file = self.files[0]
        return not self.is_folder and soundness.is_provable(file.inside, file.open)

    def _openers(self) -> Mapping[str, soundness.Opener]:
        return {file.inside: file.open for file in self.files}


def version_of(attempt: int, saved_as: str, stamp: list[int]) -> str:
    """A short hash that differs from those of other checkpoints of the same step."""
    return hashlib.sha256(f"{attempt}/{saved_as}/{stamp}".encode()).hexdigest()[:8]


def by_step(checkpoints: Iterable[FoundCheckpoint]) -> list[FoundCheckpoint]:
    """In the order of their steps; then those whose step is not known, among them copies of the
    others."""

    def key(item: FoundCheckpoint) -> tuple[bool, int, int, str]:
        return item.step is None, item.step or 0, item.modified_ns, item.saved_as

    return sorted(checkpoints, key=key)


class Unfinished(Exception):
    """The checkpoint is still being written."""
