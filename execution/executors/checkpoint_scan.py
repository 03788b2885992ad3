"""Finds what a training has saved in $TRAINHUB_CHECKPOINT_DIR: checkpoints and other files.

The layouts are in artifacts/layouts.py. A line of the metrics file may declare a checkpoint, its
step and that it is complete, which overrules them. Whatever a training puts there, a scan ends:
what cannot be read is said, and a folder is visited once, however many links lead to it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.conf import settings

from artifacts import layouts, soundness
from artifacts.layouts import MODEL
from core.files import names_in, status_of
from core.text import readable
from execution.executors.found_checkpoint import FILE, ROOT, FoundCheckpoint, FoundFile

NOT_FILES: Final = ("/proc", "/sys", "/dev")  # what is below these has no end


@dataclass
class Scan:
    """What a checkpoint folder contains."""

    checkpoints: list[FoundCheckpoint] = field(default_factory=list)
    others: dict[str, FoundFile] = field(default_factory=dict)  # by readable path: no checkpoints
    skipped: list[str] = field(default_factory=list)  # links that are not followed
    unreadable: dict[str, OSError] = field(default_factory=dict)  # by path


def scan(
    folder: Path, declared: Mapping[str, int | None] | None = None, owner: int | None = None
) -> Scan:
    """What is in ``folder``. ``declared``: path in it → step, as declared in the metrics file.
    ``owner``: the UID to which everything must belong that is looked at, see core/files.py."""
    return _Scanner(folder, declared or {}, owner).scan()


class _Scanner:
    def __init__(
        self, root: Path, declared: Mapping[str, int | None], owner: int | None = None
    ) -> None:
        self._root = root
        self._owner = owner
        self._real_root = os.path.realpath(root)
        self._declared = {os.path.normpath(path): step for path, step in declared.items()}
        self._found = Scan()
        self._names: dict[str, str] = {}  # readable → as it is on disk
        self._visited = {self._real_root}  # real paths of folders

    def scan(self) -> Scan:
        self._visit(self._root)
        return self._found

    def _visit(self, folder: Path) -> None:
        others: dict[str, FoundFile] = {}
        for path, status in self._entries(folder):
            relative = self._relative(path)
            if relative in self._declared:
                self._add(path, status)
            elif layouts.is_temporary(path.name) or self._is_pointer(path, status):
                continue
            elif stat.S_ISDIR(status.st_mode):
                self._visit_folder(path)
            else:
                others[path.name] = FoundFile(path.name, path, status)
        self._add_loose(folder, others)

    def _add_loose(self, folder: Path, files: dict[str, FoundFile]) -> None:
        """The files directly in a folder of checkpoints: of one that was saved without a folder of
        its own, else each for itself."""
        metadata = folder / soundness.DCP_METADATA
        status = self._status(metadata)
        if status is not None and stat.S_ISREG(status.st_mode):
            files[metadata.name] = FoundFile(metadata.name, metadata, status)
        layout = layouts.layout_of_folder("", files.keys())
        if layout == MODEL or layout in layouts.BY_NAME:
            names = layouts.files_of(layout, files.keys())
            self._add_files(folder, layout, [files.pop(name) for name in sorted(names)])
        for name, file in files.items():
            if layouts.is_saved(name):
                self._add_files(file.path, FILE, [file])
            elif name != soundness.DCP_METADATA:
                self._found.others[self._readable(self._relative(file.path))] = file

    def _visit_folder(self, path: Path) -> None:
        if any(item.startswith(f"{self._relative(path)}/") for item in self._declared):
            self._visit(path)
            return
        real = os.path.realpath(path)
        if real in self._visited:
            return
        self._visited.add(real)
        files, skipped, touched_ns = self._files_in(path)
        layout = layouts.layout_of_folder(path.name, {file.inside for file in files})
        if layout is None:
            self._visit(path)
        else:
            self._add_files(path, layout, files, skipped, touched_ns)

    def _add(self, path: Path, status: os.stat_result) -> None:
        """A declared checkpoint."""
        if not stat.S_ISDIR(status.st_mode):
            self._add_files(path, FILE, [FoundFile(path.name, path, status)])
            return
        files, skipped, touched_ns = self._files_in(path)
        layout = layouts.layout_of_folder(path.name, {file.inside for file in files})
        self._add_files(path, layout or layouts.FOLDER, files, skipped, touched_ns)

    def _add_files(
        self,
        path: Path,
        layout: str,
        files: Iterable[FoundFile],
        skipped: tuple[str, ...] = (),
        touched_ns: int = 0,
    ) -> None:
        in_order = tuple(sorted(files, key=lambda file: file.inside))
        if not in_order:
            return
        relative = self._relative(path)
        self._found.checkpoints.append(
            FoundCheckpoint(
                path,
                self._readable(relative) if path != self._root else ROOT,
                layout,
                in_order,
                touched_ns,
                is_declared=relative in self._declared,
                declared_step=self._declared.get(relative),
                skipped_links=skipped,
            )
        )

    # --- names and links ---------------------------------------------------------------------

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    def _readable(self, name: str) -> str:
        """Different for different names, also for those that only a stand-in can show."""
        shown = readable(name)
        if self._names.setdefault(shown, name) != name:
            shown = f"{shown} ({hashlib.sha256(os.fsencode(name)).hexdigest()[:8]})"
        return shown

    def _is_pointer(self, path: Path, status: os.stat_result) -> bool:
        """Whether it is a link to something that is found by itself, or that is not followed."""
        if not path.is_symlink():
            return False
        target = os.path.realpath(path)
        if _is_within(target, self._real_root):
            return True
        is_followed = self._may_read(target)
        if stat.S_ISDIR(status.st_mode):  # a dataset or a base model, for one, is not
            is_followed = is_followed and _looks_like_checkpoint(path)
        if not is_followed:
            self._found.skipped.append(readable(self._relative(path)))
        return not is_followed

    def _may_read(self, target: str) -> bool:
        """Whether a link may lead to ``target``: not to TrainHub's own files, not to a folder that
        contains the link."""
        if _is_within(target, self._real_root):
            return True
        attempt = os.path.realpath(self._root.parent)
        contains_link = any(_is_within(it, target) for it in (self._real_root, attempt))
        if contains_link or any(_is_within(target, it) for it in NOT_FILES):
            return False
        if _is_within(target, attempt):  # TrainHub's own lie directly in it
            is_direct = os.path.dirname(target) == attempt
            return os.path.isdir(target) or not is_direct or layouts.is_saved(target)
        return not _is_within(target, os.path.realpath(settings.DATA_DIR))

    def _files_in(self, folder: Path) -> tuple[list[FoundFile], tuple[str, ...], int]:
        """The files of a checkpoint folder, with those that links lead to; the links that are not
        followed; and when an entry of its folders was last added or removed (Unix ns).

        Links to folders elsewhere are followed only in what is a checkpoint by its name, or
        declared: in any other folder, such a link may be to a dataset.
        """
        is_checkpoint = (
            layouts.names_checkpoint(folder.name) or self._relative(folder) in self._declared
        )
        files: list[FoundFile] = []
        skipped: list[str] = []
        touched_ns = 0
        start = os.path.realpath(folder)
        pending, seen = [("", folder, start)], {start}
        while pending:
            prefix, current, real = pending.pop()
            status = self._status(current)
            touched_ns = max(touched_ns, status.st_mtime_ns if status else 0)
            for path, status in self._entries(current, skipped, prefix):
                inside = f"{prefix}{path.name}"
                target = f"{real}/{path.name}"
                if path.is_symlink():
                    target = os.path.realpath(path)
                    is_elsewhere = not _is_within(target, self._real_root)
                    is_folder = is_elsewhere and stat.S_ISDIR(status.st_mode)
                    is_other = is_folder and not (is_checkpoint or _looks_like_checkpoint(path))
                    if is_other or not self._may_read(target):
                        skipped.append(readable(inside))
                        continue
                if not stat.S_ISDIR(status.st_mode):
                    files.append(FoundFile(inside, path, status))
                elif target not in seen:  # links may form a circle
                    seen.add(target)
                    pending.append((f"{inside}/", path, target))
        return files, tuple(skipped), touched_ns

    # --- reading -----------------------------------------------------------------------------

    def _entries(
        self, folder: Path, skipped: list[str] | None = None, prefix: str = ""
    ) -> Iterator[tuple[Path, os.stat_result]]:
        """The regular files and folders in ``folder``, by name, and what links to such lead to.
        Links that lead nowhere are added to ``skipped``, after ``prefix``."""
        try:
            names = names_in(folder, self._owner)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._cannot_read(folder, error)
            return
        broken = self._found.skipped if skipped is None else skipped
        for name in names:
            path = folder / name
            status = self._status(path)
            if status is None:
                if path.is_symlink() and not layouts.is_temporary(name):
                    broken.append(readable(prefix + name))
            elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                yield path, status

    def _status(self, path: Path) -> os.stat_result | None:
        """None if there is nothing, or nothing that can be read."""
        try:
            return status_of(path, self._owner)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                self._cannot_read(path, error)
            return None

    def _cannot_read(self, path: Path, error: OSError) -> None:
        self._found.unreadable[readable(self._relative(path))] = error


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _looks_like_checkpoint(folder: Path) -> bool:
    """Whether a folder elsewhere is one, without listing it: it may be a dataset."""
    names = {folder.name, os.path.basename(os.path.realpath(folder))}
    return any(map(layouts.names_checkpoint, names)) or any(
        (folder / name).is_file() for name in layouts.TELLING_FILES
    )
