"""Finds what a training has saved in $TRAINHUB_CHECKPOINT_DIR: checkpoints and other files.

The layouts are in artifacts/layouts.py. A line of the metrics file may declare a checkpoint, its
step and that it is complete, which overrules them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from artifacts import layouts, soundness
from artifacts.layouts import MODEL
from artifacts.tar_stream import TarStream, member_of, open_file
from execution.executors.attempt import Ending

# A file may be written under its final name, so it counts as complete only after it has not changed
# for this long. A folder is written file by file, with pauses in between.
SETTLED_SECONDS = 1.0
SETTLED_FOLDER_SECONDS = 5.0
# An incomplete checkpoint that has not changed for this long will not be completed.
DAMAGED_SECONDS = 60.0
# A folder is stored as one file with this suffix, which no training's own file has.
FOLDER_SUFFIX = ".folder.tar"
FILE = "file"  # the layout of a checkpoint that is a single file


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint on disk. ``files``: (path within the checkpoint, file); of a single file, its
    name. ``saved_as``: its path in the checkpoint folder, in readable characters."""

    path: Path
    saved_as: str
    layout: str
    files: tuple[tuple[str, Path], ...]
    size_bytes: int
    modified_ns: int
    is_declared: bool = False
    declared_step: int | None = None
    skipped_links: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        return self.layout != FILE

    @property
    def stamp(self) -> list[int]:
        """Changes when the checkpoint does; stored as JSON."""
        return [self.size_bytes, self.modified_ns, len(self.files)]

    @property
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
        """A short hash that differs from those of other checkpoints of the same step."""
        identity = f"{attempt}/{self.saved_as}/{self.stamp}"
        return hashlib.sha256(identity.encode()).hexdigest()[:8]

    def archive(self) -> TarStream:
        """A folder's files, in a folder of its name."""
        name = MODEL if self.layout == MODEL else self.path.name
        return TarStream(member_of(f"{name}/{inside}", path) for inside, path in self.files)

    def problem(self, ending: Ending | None, now: float) -> str | None:
        """Why it is incomplete; None if it is complete. ``now``: Unix seconds by the clock that
        dates the files. Raises Unfinished while it may still be completed, and FileNotFoundError
        if it is being pruned."""
        at = now if ending is None else ending.trusted_until
        rest_seconds = at - self.modified_ns / 1e9
        problem = soundness.problem_in(
            self._openers(), folder=self.path.name if self.is_folder else ""
        )
        is_settled = self.is_declared or rest_seconds >= (
            SETTLED_FOLDER_SECONDS if self.is_folder else SETTLED_SECONDS
        )
        if ending is None and (not is_settled or (problem and rest_seconds < DAMAGED_SECONDS)):
            raise Unfinished
        if problem is None and not is_settled and not self._is_proven():
            return _("it may be incomplete: the training was killed while it was written")
        return problem

    def _is_proven(self) -> bool:
        """Whether its format shows that it is complete, however recently it was written. A folder's
        does not: it may still lack a file."""
        name, path = self.files[0]
        return not self.is_folder and soundness.is_provable(name, partial(open_file, path))

    def _openers(self) -> Mapping[str, soundness.Opener]:
        return {inside: partial(open_file, path) for inside, path in self.files}


class Unfinished(Exception):
    """The checkpoint is still being written."""


@dataclass
class Scan:
    """What a checkpoint folder contains; checkpoints are ordered by step."""

    checkpoints: list[FoundCheckpoint] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)  # files that are no checkpoints
    skipped_links: list[str] = field(default_factory=list)


def scan(folder: Path, declared: Mapping[str, int | None] | None = None) -> Scan:
    """What is in ``folder``. ``declared``: path in it → step, as declared in the metrics file."""
    return _Scanner(folder, declared or {}).scan()


class _Scanner:
    def __init__(self, root: Path, declared: Mapping[str, int | None]) -> None:
        self._root = root
        self._declared = {os.path.normpath(path): step for path, step in declared.items()}
        self._found = Scan()

    def scan(self) -> Scan:
        self._visit(self._root)
        self._found.checkpoints.sort(
            key=lambda item: (item.step or 0, item.modified_ns, item.saved_as)
        )
        return self._found

    def _visit(self, folder: Path) -> None:
        others = []
        for path in _entries(folder):
            if self._relative(path) in self._declared:
                self._add(path)
            elif not layouts.is_temporary(path.name) and not self._is_pointer(path):
                if path.is_dir():
                    self._visit_folder(path)
                elif path.is_file():
                    others.append(path)
        metadata = folder / soundness.DCP_METADATA
        here = {path.name: path for path in [*others, *([metadata] if metadata.is_file() else [])]}
        layout = layouts.layout_of_folder("", here.keys())
        if layout == MODEL or layout in layouts.BY_NAME:
            self._add_files(folder, layout, here, ())
            return
        for path in others:
            if layouts.is_saved(path.name):
                self._add(path)
            else:
                self._found.others.append(path)

    def _visit_folder(self, path: Path) -> None:
        if any(item.startswith(f"{self._relative(path)}/") for item in self._declared):
            self._visit(path)
            return
        files, skipped = self._files_in(path)
        layout = layouts.layout_of_folder(path.name, files.keys())
        if layout is None:
            self._visit(path)
        else:
            self._add_files(path, layout, files, skipped)

    def _add(self, path: Path) -> None:
        if path.is_dir():
            files, skipped = self._files_in(path)
            layout = layouts.layout_of_folder(path.name, files.keys()) or layouts.FOLDER
            self._add_files(path, layout, files, skipped)
        else:
            self._add_files(path, FILE, {path.name: path}, ())

    def _add_files(
        self, path: Path, layout: str, files: Mapping[str, Path], skipped: tuple[str, ...]
    ) -> None:
        try:
            stats = [file.stat() for file in files.values()]
        except FileNotFoundError:
            return  # trainings prune checkpoints
        if not stats:
            return
        relative = self._relative(path)
        self._found.checkpoints.append(
            FoundCheckpoint(
                path,
                readable(relative) if path != self._root else MODEL,
                layout,
                tuple(sorted(files.items())),
                sum(item.st_size for item in stats),
                max(item.st_mtime_ns for item in stats),
                is_declared=relative in self._declared,
                declared_step=self._declared.get(relative),
                skipped_links=skipped,
            )
        )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    def _is_pointer(self, path: Path) -> bool:
        """Whether it is a link to something that is found by itself, or that must not be read."""
        if not path.is_symlink():
            return False
        if not self._may_read(path):
            self._found.skipped_links.append(readable(self._relative(path)))
            return True
        return path.resolve().is_relative_to(self._root.resolve())

    def _may_read(self, link: Path) -> bool:
        """Whether a link leads to a file that the training may read: not to TrainHub's own."""
        target = link.resolve()
        own = settings.DATA_DIR.resolve()
        is_own = target.is_relative_to(own) and not target.is_relative_to(
            self._root.parent.resolve()
        )
        return not is_own and os.access(target, os.R_OK)

    def _files_in(self, folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
        """The files of a checkpoint folder by their path in it, with those that links lead to; and
        the links that lead nowhere."""
        files: dict[str, Path] = {}
        skipped: list[str] = []
        pending, seen = [("", folder)], {folder.resolve()}
        while pending:
            prefix, current = pending.pop()
            for path in _entries(current):
                inside = f"{prefix}{path.name}"
                if path.is_symlink() and not self._may_read(path):
                    skipped.append(readable(inside))
                elif path.is_dir():
                    if path.resolve() not in seen:  # links may form a circle
                        seen.add(path.resolve())
                        pending.append((f"{inside}/", path))
                elif path.is_file():
                    files[inside] = path
        return files, tuple(skipped)


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def readable(name: str) -> str:
    """``name``, or a stand-in for a name that is not UTF-8: read as GB 18030, or escaped."""
    raw = os.fsencode(name)
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding).replace("\x00", "")
        except UnicodeDecodeError:
            continue
    return raw.decode("ascii", errors="backslashreplace")
