"""Writes the files of nodes into an attempt's directory."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db.models import Sum

from execution.launcher import files
from execution.mirror.paths import CHECKPOINTS
from execution.models import MirroredFile


class Writer:
    """``versions``: path → version of what is in the directory, as far as that is known.
    ``holes``: the paths of files of which bytes are missing here."""

    def __init__(self, directory: Path, state: dict[str, Any]) -> None:
        self._directory = directory
        self.versions: dict[str, str] = dict(state.get("files", {}))
        self.holes: set[str] = set(state.get("holes", []))

    def has(self, row: MirroredFile) -> bool:
        return self.versions.get(row.path) == row.version and (self._directory / row.path).is_file()

    def lacks(self, row: MirroredFile) -> bool:
        """Whether it is a hole, or would be if it were written."""
        if self.has(row):
            return row.path in self.holes
        kept = row.chunks.aggregate(total=Sum("size", default=0))["total"]
        return bool(kept < row.received)

    def take(self, row: MirroredFile, source: Path) -> None:
        """Move its bytes from ``source``."""
        path = self._place_for(row)
        os.utime(source, ns=(row.modified_ns, row.modified_ns))
        os.replace(source, path)
        self.versions[row.path] = row.version
        self.holes.discard(row.path)
        self._date_folders(path.parent, row.modified_ns)

    def write(self, row: MirroredFile) -> None:
        if row.size is None:
            self._append(row)
        elif row.is_whole and not self.has(row):
            self._replace(row)

    def _place_for(self, row: MirroredFile) -> Path:
        """Its path. In the checkpoint folder, what was a file there may be a folder now, and what
        was a folder a file."""
        path = self._directory / row.path
        if path.is_relative_to(self._directory / CHECKPOINTS):
            for folder in path.relative_to(self._directory).parents:
                if (self._directory / folder).is_file():
                    (self._directory / folder).unlink()
            if path.is_dir():
                shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _append(self, row: MirroredFile) -> None:
        path = self._place_for(row)
        if self.versions.get(row.path) not in {row.version, None}:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with open(path, "ab", opener=files.private) as file:
            size = file.tell()
            if size < row.received:
                self._write_from(row, file, size)
        self.versions[row.path] = row.version
        os.utime(path, ns=(row.modified_ns, row.modified_ns))

    def _write_from(self, row: MirroredFile, file: Any, size: int) -> bool:
        """What follows the first ``size`` bytes. What is not kept any more becomes a hole: then
        False."""
        is_whole = True
        for chunk in row.chunks.filter(start__lt=row.received).order_by("start").iterator():
            if chunk.start + chunk.size <= size:
                continue
            if chunk.start > size:
                file.truncate(chunk.start)
                size, is_whole = chunk.start, False
            content = chunk.bytes()[size - chunk.start : row.received - chunk.start]
            file.write(content)
            file.flush()
            size += len(content)
        if size < row.received:
            file.truncate(row.received)
            is_whole = False
        return is_whole

    def _replace(self, row: MirroredFile) -> None:
        path = self._place_for(row)
        # Not in the folder of a checkpoint, where it would be a part of that.
        draft = self._directory / f".mirror-{os.getpid()}.tmp"
        try:
            with open(draft, "wb", opener=files.private) as file:
                is_whole = self._write_from(row, file, 0)
            os.utime(draft, ns=(row.modified_ns, row.modified_ns))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        self.versions[row.path] = row.version
        (self.holes.discard if is_whole else self.holes.add)(row.path)
        self._date_folders(path.parent, row.modified_ns)

    def _date_folders(self, folder: Path, modified_ns: int) -> None:
        """A folder of a checkpoint was touched when its newest file was written."""
        while folder != self._directory and CHECKPOINTS in folder.parts:
            newest = max(modified_ns, 0)
            with contextlib.suppress(OSError):
                times = [item.stat().st_mtime_ns for item in folder.iterdir() if item.is_file()]
                newest = max([modified_ns, *times])
                os.utime(folder, ns=(newest, newest))
            folder = folder.parent

    def remove(self, paths: Iterable[str]) -> None:
        """Remove what its node has removed."""
        for path in paths:
            target = self._directory / path
            # A folder is not it: it was replaced before the directory's state was noted.
            if not target.is_dir():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    target.unlink()
            self._remove_empty(target.parent)
            del self.versions[path]
            self.holes.discard(path)

    def _remove_empty(self, folder: Path) -> None:
        top = self._directory / CHECKPOINTS
        while folder.is_relative_to(top) and folder != top:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent
